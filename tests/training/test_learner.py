from __future__ import annotations

import torch

from histoseek.training.learner import _kept, _with_distinct_texts
from histoseek.training.objectives import Batch
from histoseek.training.wording import code_of, draw_texts


def batch(codes: list[int]) -> Batch:
    n = len(codes)
    rows = torch.nn.functional.normalize(torch.randn(n, 4), dim=-1)
    numbers = torch.arange(n)
    return Batch(
        rows, numbers, numbers, numbers, texts=numbers[:, None].expand(n, 4).float(), text_of=torch.tensor(codes)
    )


def test_each_distinct_text_becomes_one_row_that_its_views_share() -> None:
    found = _with_distinct_texts(batch([70, -1, 5, 70, 5, -1]))
    assert found.texts is not None and found.text_of is not None
    assert found.text_of.tolist() == [1, -1, 0, 1, 0, -1]
    assert found.texts[:, 0].tolist() == [2.0, 0.0]


def test_views_without_text_leave_no_rows() -> None:
    found = _with_distinct_texts(batch([-1, -1]))
    assert found.texts is not None and found.text_of is not None
    assert found.texts.shape == (0, 4) and found.text_of.tolist() == [-1, -1]


def test_unreadable_views_are_taken_out_everywhere() -> None:
    found = _kept(batch([1, 2, 3]), torch.tensor([True, False, True]))
    assert found.labels.tolist() == [0, 2] and found.texts is not None and len(found.texts) == 2


def test_texts_are_drawn_from_what_is_said_of_each() -> None:
    said = [("a", "b"), (), ("c",)]
    seen = set()
    for seed in range(20):
        texts, rows = draw_texts(said, (seed,))
        assert rows[1] == -1 and texts[rows[2]] == "c" and texts[rows[0]] in ("a", "b")
        seen.add(texts[rows[0]])
    assert seen == {"a", "b"}


def test_a_text_depends_on_its_place_in_the_batch_and_not_on_the_process() -> None:
    said = [tuple(f"{n} {word}" for word in "abcdefgh") for n in range(8)]
    texts, rows = draw_texts(said, (3, 1))
    later, later_rows = draw_texts(said[5:], (3, 1), first=5)
    assert [texts[row] for row in rows[5:]] == [later[row] for row in later_rows]


def test_a_text_has_the_same_number_in_every_process() -> None:
    assert code_of("colon") == code_of("colon") != code_of("liver")
    assert 0 <= code_of("colon") < 2**63
