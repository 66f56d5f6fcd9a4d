from __future__ import annotations

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pytorch_metric_learning")

from histoseek.errors import InputError  # noqa: E402
from histoseek.training.objectives import OBJECTIVES, Batch, Combined, build_objective  # noqa: E402

Tensor = torch.Tensor

N_CLASSES, DIM = 3, 8
WITH_TEXTS = ("clip", "siglip")
NEEDS_CLASSES = ("supcon", "multi-similarity", "triplet", "proxy-anchor")


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


def codes(*values: int) -> Tensor:
    return torch.tensor(values)


def random_rows(n: int, dim: int, seed: int) -> Tensor:
    return unit(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)))


def batch_of(
    images: Tensor,
    labels: Tensor | None = None,
    groups: Tensor | None = None,
    items: Tensor | None = None,
    *,
    texts: Tensor | None = None,
    text_of: Tensor | None = None,
) -> Batch:
    """Views that have nothing in common unless told."""
    apart = torch.arange(len(images))
    labels = torch.full((len(images),), -1) if labels is None else labels
    groups, items = (apart if given is None else given for given in (groups, items))
    return Batch(images, labels, groups, items, texts=texts, text_of=text_of)


def rich_batch(seed: int = 0) -> Batch:
    """Twelve items in two views: three classes, four patients, some unlabelled, some without text, a teacher of 5-d."""
    labels = codes(0, 0, 1, 1, 2, 2, 0, 1, 2, -1, -1, 0).repeat(2)
    groups = codes(0, 1, 0, 2, 1, 3, 0, 3, 2, 1, 2, 3).repeat(2)
    text_of = codes(0, 0, 1, 1, 2, 2, 3, 4, -1, 5, -1, 0).repeat(2)
    images, texts, targets = random_rows(24, DIM, seed), random_rows(6, DIM, seed + 1), random_rows(24, 5, seed + 2)
    return Batch(images, labels, groups, torch.arange(12).repeat(2), texts, text_of, targets)


def built(name: str, **settings: float) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_objective(name, dim=DIM, n_classes=N_CLASSES, **settings)


def descend(loss: Tensor, weights: list[Tensor], rate: float) -> None:
    """One step of plain gradient descent (torch.optim takes seconds to load)."""
    for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        weight.data -= rate * slope


def mean_log_share(cosines: Tensor, anchor: int, positives: list[int], others: list[int], factor: float) -> float:
    """The loss of one anchor, spelt out."""
    below = sum(math.exp(factor * float(cosines[anchor, k])) for k in [*positives, *others])
    return -sum(math.log(math.exp(factor * float(cosines[anchor, p])) / below) for p in positives) / len(positives)


def one_hot_clip(images: Tensor, texts: Tensor, scale: float) -> float:
    """The common mistake: each view has its own text alone as positive."""
    logits, own = scale * images @ texts.T, torch.arange(len(images))
    loss = torch.nn.functional.cross_entropy
    return ((loss(logits, own) + loss(logits.T, own)) / 2).item()


# --- clip


def test_clip_of_two_pairs_is_the_formula() -> None:
    images = unit(torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    texts = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    batch = batch_of(images, texts=texts, text_of=codes(1, 0))  # text 1 is that of view 0
    # cosines of views with their texts: [[1, 0], [.6, .8]]
    rows = math.log(1 + math.exp(-2.0)) + math.log(1 + math.exp(2 * (0.6 - 0.8)))
    columns = math.log(1 + math.exp(2 * (0.6 - 1.0))) + math.log(1 + math.exp(2 * (0.0 - 0.8)))
    assert built("clip", scale=2.0)(batch).item() == pytest.approx((rows + columns) / 4, rel=1e-5)


def test_clip_of_a_caption_held_twice_is_the_formula() -> None:
    images, texts = random_rows(3, 4, 1), random_rows(2, 4, 2)
    cosines = images @ texts[codes(1, 1, 0)].T
    expected = 0.0
    for one in (cosines, cosines.T):
        expected += mean_log_share(one, 0, [0, 1], [2], 5.0)
        expected += mean_log_share(one, 1, [0, 1], [2], 5.0)
        expected += mean_log_share(one, 2, [2], [0, 1], 5.0)
    batch = batch_of(images, texts=texts, text_of=codes(1, 1, 0))
    assert built("clip", scale=5.0)(batch).item() == pytest.approx(expected / 6, rel=1e-5)


def test_clip_takes_the_same_words_and_the_same_label_as_positives() -> None:
    images, texts = random_rows(4, 4, 1), random_rows(3, 4, 2)
    text_of = codes(0, 0, 1, 2)  # 0 and 1 share words, 1 and 2 a label, 3 nothing
    batch = batch_of(images, codes(-1, 5, 5, -1), texts=texts, text_of=text_of)
    cosines = images @ texts[text_of].T
    together = {0: [0, 1], 1: [0, 1, 2], 2: [1, 2], 3: [3]}
    expected = 0.0
    for one in (cosines, cosines.T):
        for anchor, positives in together.items():
            others = [k for k in range(4) if k not in positives]
            expected += mean_log_share(one, anchor, positives, others, 5.0)
    loss = built("clip", scale=5.0)(batch).item()
    assert loss == pytest.approx(expected / 8, rel=1e-5)
    assert abs(loss - one_hot_clip(images, texts[text_of], 5.0)) > 0.01


def test_clip_leaves_a_view_between_the_captions_of_its_class() -> None:
    """Each class is said in two ways, on either side of its views: one-hot would pull every view to its own words."""
    sides = torch.tensor([[1.0, 0, 0.3, 0], [1, 0, -0.3, 0], [0, 1, 0, 0.3], [0, 1, 0, -0.3]])
    images, texts, labels = torch.eye(4)[codes(0, 0, 1, 1)], unit(sides), codes(0, 0, 1, 1)
    pulls = []
    for known in (labels, codes(-1, -1, -1, -1)):  # without labels each view has its own words alone
        given = images.clone().requires_grad_()
        built("clip", scale=30.0)(batch_of(given, known, texts=texts, text_of=torch.arange(4))).backward()
        assert given.grad is not None
        pulls.append(given.grad[:, 2:].abs().max().item())
    assert pulls[0] < 1e-5 and pulls[1] > 0.1


def test_unlabelled_views_do_not_belong_together() -> None:
    batch = batch_of(random_rows(4, 4, 1), texts=random_rows(4, 4, 2), text_of=torch.arange(4))
    assert batch.texts is not None
    expected = one_hot_clip(batch.images, batch.texts, 3.0)
    assert built("clip", scale=3.0)(batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", WITH_TEXTS)
def test_views_without_text_are_left_out(name: str) -> None:
    images, texts = random_rows(4, 4, 1), random_rows(2, 4, 2)
    some = batch_of(images, texts=texts, text_of=codes(0, -1, 1, -1))
    alone = batch_of(images[[0, 2]], texts=texts, text_of=codes(0, 1))
    assert built(name)(some).item() == pytest.approx(built(name)(alone).item(), rel=1e-6)


@pytest.mark.parametrize("name", WITH_TEXTS)
@pytest.mark.parametrize("lacking", ["texts", "text_of"])
def test_a_batch_without_texts_is_refused(name: str, lacking: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' learns from texts"):
        built(name)(replace(rich_batch(), **{lacking: None}))


@pytest.mark.parametrize("name", WITH_TEXTS)
@pytest.mark.parametrize(("thrown_to", "limit"), [(1e6, 50.0), (-1e6, 1.0)])
def test_scale_stays_in_its_limits_and_comes_back_from_there(name: str, thrown_to: float, limit: float) -> None:
    objective = built(name, max_scale=50.0)
    with torch.no_grad():
        objective.log_scale.fill_(thrown_to)  # what a huge gradient step leaves
    batch = batch_of(random_rows(3, 4, 1), texts=random_rows(3, 4, 2), text_of=torch.arange(3))
    loss = objective(batch)
    assert loss.item() == pytest.approx(built(name, scale=limit, max_scale=50.0)(batch).item(), rel=1e-4)
    loss.backward()
    assert objective.log_scale.grad.abs() > 1e-4
    with torch.no_grad():  # one ordinary step inwards is felt at once
        objective.log_scale.add_(-0.1 if limit > 1 else 0.1)
    assert objective(batch).item() != pytest.approx(loss.item(), rel=1e-4)


def test_huge_steps_do_not_break_the_scale() -> None:
    objective = built("clip")
    for seed in range(3):
        loss = objective(rich_batch(seed))
        assert torch.isfinite(loss)
        descend(loss, list(objective.parameters()), 1e8)
        assert not 0 < objective.log_scale.item() < math.log(100)  # thrown out
    objective(rich_batch())
    assert 1 <= objective.log_scale.exp().item() <= 100.001


# --- siglip


def test_siglip_starts_as_in_the_paper() -> None:
    objective = built("siglip")
    assert objective.log_scale.item() == pytest.approx(math.log(10))
    assert objective.bias.item() == -10


def test_siglip_is_the_formula_with_several_positives() -> None:
    images, texts = random_rows(3, 4, 1), random_rows(3, 4, 2)
    batch = batch_of(images, codes(4, -1, 4), texts=texts, text_of=codes(0, 1, 2))
    expected = 0.0
    for i in range(3):
        for j in range(3):
            sign = 1 if i == j or {i, j} == {0, 2} else -1
            expected += math.log(1 + math.exp(-sign * (10 * float(images[i] @ texts[j]) - 10)))
    assert built("siglip")(batch).item() == pytest.approx(expected / 3, rel=1e-5)


# --- supcon


def supcon_of(batch: Batch, shares: dict[int, tuple[list[int], list[int]]]) -> None:
    """Hold supcon to the mean over anchors: {anchor: (positives, negatives)}."""
    cosines = batch.images @ batch.images.T
    expected = [mean_log_share(cosines, anchor, good, bad, 10.0) for anchor, (good, bad) in shares.items()]
    assert built("supcon")(batch).item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_supcon_takes_positives_from_other_patients() -> None:
    # views 0, 1 and 2 have one label, 0 and 1 one patient as well; 3 is of that patient and of another label
    batch = batch_of(random_rows(4, 4, 3), codes(0, 0, 0, 1), groups=codes(7, 7, 8, 7))
    supcon_of(batch, {0: ([2], [3]), 1: ([2], [3]), 2: ([0, 1], [3])})


def test_supcon_of_one_patient_takes_other_items_never_the_same() -> None:
    batch = batch_of(random_rows(4, 4, 3), codes(0, 0, 0, 1), groups=codes(7, 7, 7, 8), items=codes(0, 0, 1, 2))
    supcon_of(batch, {0: ([2], [3]), 1: ([2], [3]), 2: ([0, 1], [3])})


def test_supcon_ignores_unlabelled_views() -> None:
    images = random_rows(6, 4, 3)
    batch = batch_of(images, codes(0, -1, 0, 1, -1, 1))
    alone = batch_of(images[[0, 2, 3, 5]], codes(0, 0, 1, 1))
    assert built("supcon")(batch).item() == pytest.approx(built("supcon")(alone).item(), rel=1e-6)
    moved = replace(batch, images=images.clone().requires_grad_())
    built("supcon")(moved).backward()
    assert moved.images.grad is not None
    assert moved.images.grad[[1, 4]].abs().max() == 0
    assert (moved.images.grad[[0, 2, 3, 5]].abs().amax(dim=1) > 0).all()


def test_likeness_within_a_patient_is_neither_sought_nor_punished() -> None:
    """Only views 0 and 1 share patient and label: the loss does not change with the cosine between them."""
    labels, groups = codes(0, 0, 0, 1), codes(7, 7, 8, 9)
    images = torch.eye(6)[:4]
    turned = images.clone()
    turned[1] = images[0]  # identical to view 0, and as far from all others as before
    near, far = (built("supcon")(batch_of(rows, labels, groups)).item() for rows in (turned, images))
    assert near == pytest.approx(far, rel=1e-6)


# --- views


def test_views_pulls_an_item_together_whatever_the_labels() -> None:
    images = random_rows(4, 4, 5)
    batch = batch_of(images, codes(-1, -1, 2, 2), items=codes(0, 1, 0, 1))
    cosines = images @ images.T
    partner = {0: 2, 1: 3, 2: 0, 3: 1}
    expected = [
        mean_log_share(cosines, i, [p], [k for k in range(4) if k not in (i, p)], 10.0) for i, p in partner.items()
    ]
    assert built("views")(batch).item() == pytest.approx(sum(expected) / 4, rel=1e-5)
    assert built("views")(replace(batch, labels=codes(-1, -1, -1, -1))).item() == pytest.approx(sum(expected) / 4)


# --- those of pytorch-metric-learning


def test_triplet_is_the_hinge_on_the_hardest_over_all_anchors() -> None:
    angles = torch.tensor([0.0, 0.3, 0.9, 0.5, 1.4, 3.0, 3.05])
    images = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = (0, 0, 0, 1, 1, 2, 2)
    hinges = []
    for i in range(7):
        cosines = {k: math.cos(float(angles[i] - angles[k])) for k in range(7) if k != i}
        farthest = min(value for k, value in cosines.items() if labels[k] == labels[i])
        nearest = max(value for k, value in cosines.items() if labels[k] != labels[i])
        hinges.append(max(0.0, nearest - farthest + 0.2))
    assert hinges[5:] == [0, 0] and min(hinges[:5]) > 0  # those at rest count as well
    loss = built("triplet")(batch_of(images, codes(*labels)))
    assert loss.item() == pytest.approx(sum(hinges) / 7, rel=1e-5)


def test_multi_similarity_is_the_formula_on_hard_pairs() -> None:
    angles = torch.tensor([0.0, 1.5, 0.8])  # view 2, of the other label, lies between: all pairs are hard
    images = torch.stack([angles.cos(), angles.sin()], dim=1)
    cosine = [[math.cos(float(a - b)) for b in angles] for a in angles]
    expected = 0.0
    for anchor, positive, negative in ((0, 1, 2), (1, 0, 2)):
        expected += math.log(1 + math.exp(-2 * (cosine[anchor][positive] - 0.5))) / 2
        expected += math.log(1 + math.exp(50 * (cosine[anchor][negative] - 0.5))) / 50
    # view 2 has no positive, so the mining of the paper finds it no hard negative either
    assert built("multi-similarity")(batch_of(images, codes(0, 0, 1))).item() == pytest.approx(expected / 3, rel=1e-5)


def test_proxy_anchor_is_the_formula_and_learns_its_proxies() -> None:
    objective = built("proxy-anchor")
    images, labels = random_rows(4, DIM, 2), (0, 0, 2, 2)
    cosines = images @ unit(objective.loss.proxies.detach()).T
    pulled = [sum(math.exp(-32 * (float(cosines[i, c]) - 0.1)) for i in range(4) if labels[i] == c) for c in (0, 2)]
    pushed = [sum(math.exp(32 * (float(cosines[i, c]) + 0.1)) for i in range(4) if labels[i] != c) for c in range(3)]
    expected = sum(math.log(1 + p) for p in pulled) / 2 + sum(math.log(1 + p) for p in pushed) / 3
    loss = objective(batch_of(images, codes(*labels)))
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert objective.loss.proxies.grad.abs().max() > 0


def test_proxy_anchor_refuses_a_class_it_was_not_made_for() -> None:
    with pytest.raises(InputError, match=r"label code 3 .* codes 0 to 2"):
        built("proxy-anchor")(batch_of(random_rows(2, DIM, 0), codes(1, 3)))


@pytest.mark.parametrize("name", ["multi-similarity", "triplet", "proxy-anchor"])
def test_metric_objectives_ignore_unlabelled_views(name: str) -> None:
    batch = rich_batch()
    labelled = batch.labels >= 0
    alone = batch_of(batch.images[labelled], batch.labels[labelled])
    loss = built(name)(batch).item()
    assert loss > 0
    assert loss == pytest.approx(built(name)(alone).item(), rel=1e-6)


# --- distill


def test_distill_is_the_divergence_between_neighbourhoods() -> None:
    batch = replace(batch_of(random_rows(3, 4, 1)), targets=random_rows(3, 7, 2))
    expected = 0.0
    for i in range(3):
        shares = []
        for rows in (batch.targets, batch.images):
            assert rows is not None
            weights = [math.exp(10 * float(rows[i] @ rows[k])) for k in range(3) if k != i]
            shares.append([weight / sum(weights) for weight in weights])
        expected += sum(t * math.log(t / s) for t, s in zip(*shares, strict=True)) / 3
    assert built("distill")(batch).item() == pytest.approx(expected, rel=1e-4)


def test_distill_rests_where_the_student_has_the_teachers_neighbours() -> None:
    images = random_rows(5, 4, 1)
    padded = torch.cat([images, torch.zeros(5, 3)], dim=1)
    assert built("distill")(replace(batch_of(images), targets=padded)).item() == pytest.approx(0, abs=1e-6)
    other = built("distill")(replace(batch_of(images), targets=padded.flip(0)))
    assert other.item() > 0.1


def test_distill_without_a_teacher_says_what_to_give() -> None:
    with pytest.raises(InputError, match="option teacher"):
        built("distill")(batch_of(random_rows(4, 4, 0)))


# --- all


@pytest.mark.parametrize("name", OBJECTIVES)
def test_order_within_the_batch_does_not_matter(name: str) -> None:
    batch = rich_batch()
    assert batch.texts is not None and batch.text_of is not None and batch.targets is not None
    views = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    rows = torch.randperm(6, generator=torch.Generator().manual_seed(2))
    place = torch.argsort(rows)  # where each text row has gone
    text_of = torch.where(batch.text_of >= 0, place[batch.text_of.clamp(min=0)], -1)
    mixed = Batch(
        *(column[views] for column in (batch.images, batch.labels, batch.groups, batch.items)),
        texts=batch.texts[rows],
        text_of=text_of[views],
        targets=batch.targets[views],
    )
    loss = built(name)(batch).item()
    assert loss > 0
    assert built(name)(mixed).item() == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradient_reaches_every_weight_and_what_was_learnt_from(name: str) -> None:
    batch = rich_batch()
    batch = replace(batch, images=batch.images.requires_grad_())
    objective = built(name)
    loss = objective(batch)
    assert loss.shape == () and loss.dtype == torch.float32
    loss.backward()
    for tensor in (batch.images, *objective.parameters()):
        assert torch.isfinite(tensor.grad).all() and tensor.grad.abs().max() > 0


def cut(batch: Batch, keep: Tensor) -> Batch:
    """Some views of a batch."""
    assert batch.text_of is not None and batch.targets is not None
    return Batch(
        *(column[keep] for column in (batch.images, batch.labels, batch.groups, batch.items)),
        texts=batch.texts,
        text_of=batch.text_of[keep],
        targets=batch.targets[keep],
    )


POOR = {
    "no view": cut(rich_batch(), codes().long()),
    "one view": cut(rich_batch(), codes(9)),
    "nothing known": replace(
        cut(rich_batch(), torch.arange(12)), labels=torch.full((12,), -1), text_of=torch.full((12,), -1)
    ),
    "one class": cut(rich_batch(), codes(0, 1, 6, 11)),
    "one item": cut(rich_batch(), codes(0, 12)),
    "same picture": replace(rich_batch(), images=rich_batch().images[:1].expand(24, -1)),
}
"""Batches from which some objectives, or all, learn nothing."""

LEARNS = {
    "no view": set(),
    "one view": {"siglip"},
    "nothing known": {"distill"},
    "one class": {"clip", "siglip", "proxy-anchor", "distill"},
    "one item": {"siglip", "proxy-anchor"},
    "same picture": set(OBJECTIVES),
}
"""Which objectives still have something to tell there; one view with its text is a yes to `siglip`."""


@pytest.mark.parametrize("case", POOR)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_poor_batches_give_zero_or_a_number_but_never_nan(name: str, case: str) -> None:
    images = POOR[case].images.clone().requires_grad_()
    objective = built(name)
    loss = objective(replace(POOR[case], images=images))
    loss.backward()
    for tensor in (images, *objective.parameters()):
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all()
    assert torch.isfinite(loss)
    if name not in LEARNS[case]:
        assert loss.item() == 0


def test_one_class_in_several_texts_still_teaches_clip_nothing() -> None:
    """Where all belongs together there is nothing to tell apart."""
    batch = batch_of(random_rows(3, 4, 0), codes(1, 1, 1), texts=random_rows(3, 4, 1), text_of=codes(0, 1, 2))
    assert built("clip")(batch).item() == 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_autocast_outside_does_not_cost_precision(name: str) -> None:
    batch = rich_batch()
    exact = built(name)(batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = built(name)(batch)
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(exact.item(), rel=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_bfloat16_embeddings_are_taken(name: str) -> None:
    batch = rich_batch()
    assert batch.texts is not None
    rough = replace(batch, images=batch.images.bfloat16().requires_grad_(), texts=batch.texts.bfloat16())
    loss = built(name)(rough)
    loss.backward()
    assert loss.dtype == torch.float32 and rough.images.grad is not None


def separable(seed: int) -> tuple[Tensor, Batch]:
    """Inputs [48, 16] of three classes with noise, two views of 24 items of six patients; captions by class."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(N_CLASSES).repeat(8)
    centres = torch.randn(N_CLASSES, 16, generator=random)
    items = centres[labels] + 0.5 * torch.randn(24, 16, generator=random)
    inputs = items.repeat(2, 1) + 0.2 * torch.randn(48, 16, generator=random)
    texts = random_rows(N_CLASSES, DIM, seed)
    known = labels.repeat(2)
    place = torch.arange(24).repeat(2)
    return inputs, Batch(inputs, known, place % 6 // 2 + place % 2 * 3, place, texts, known, unit(inputs))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_thirty_steps_reduce_the_loss(name: str) -> None:
    inputs, batch = separable(0)
    objective = built(name)
    tower = torch.nn.Linear(16, DIM, bias=False)
    losses = []
    for _ in range(31):
        loss = objective(replace(batch, images=unit(tower(inputs))))
        losses.append(loss.item())
        descend(loss, [*tower.parameters(), *objective.parameters()], 0.05)
    assert losses[-1] < 0.9 * losses[0]


# --- building


def test_an_unknown_objective_names_the_known() -> None:
    with pytest.raises(InputError, match="no objective 'clap'; choose from clip, siglip"):
        built("clap")


@pytest.mark.parametrize("name", NEEDS_CLASSES)
@pytest.mark.parametrize("n_classes", [0, 1])
def test_objectives_over_classes_need_two(name: str, n_classes: int) -> None:
    with pytest.raises(InputError, match=f"'{name}' tells classes apart and the training data has {n_classes}"):
        build_objective(name, dim=DIM, n_classes=n_classes)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - set(NEEDS_CLASSES)))
def test_objectives_without_classes_need_none(name: str) -> None:
    build_objective(name, dim=DIM, n_classes=0)


@pytest.mark.parametrize("setting", ["temperatur", "dim_", "self"])
def test_an_unknown_setting_names_the_known(setting: str) -> None:
    with pytest.raises(InputError, match=f"no setting '{setting}'; it has temperature"):
        build_objective("supcon", dim=DIM, n_classes=2, **{setting: 1.0})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("clip", {"scale": 0.0}),
        ("siglip", {"max_scale": 0.5}),
        ("supcon", {"temperature": 0.0}),
        ("views", {"temperature": -1.0}),
        ("distill", {"temperature": math.nan}),
        ("triplet", {"margin": 0.0}),
        ("proxy-anchor", {"alpha": 0.0}),
        ("multi-similarity", {"beta": math.inf}),
    ],
)
def test_senseless_settings_are_refused(name: str, settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"the setting {next(iter(settings))} is"):
        built(name, **settings)


def test_settings_reach_the_objective() -> None:
    batch = rich_batch()
    for name, setting in (("supcon", "temperature"), ("triplet", "margin"), ("proxy-anchor", "margin")):
        assert built(name, **{setting: 0.7})(batch).item() != pytest.approx(built(name)(batch).item(), rel=1e-3)


# --- combined


def test_combined_is_the_weighted_sum_of_its_parts() -> None:
    weights = {"clip": 1.0, "supcon": 0.5, "distill": 2.0}
    combined = Combined(weights, dim=DIM, n_classes=N_CLASSES, settings={"clip": {"scale": 20.0}})
    total, parts = combined(rich_batch())
    assert parts.keys() == weights.keys()
    for name in weights:
        settings = {"scale": 20.0} if name == "clip" else {}
        assert parts[name].item() == pytest.approx(built(name, **settings)(rich_batch()).item(), rel=1e-6)
        assert not parts[name].requires_grad
    assert total.requires_grad
    assert total.item() == pytest.approx(sum(weights[name] * parts[name].item() for name in weights), rel=1e-6)


def test_combined_keeps_what_its_parts_learnt() -> None:
    weights = {"siglip": 1.0, "proxy-anchor": 1.0}
    first, second = (Combined(weights, dim=DIM, n_classes=N_CLASSES) for _ in range(2))
    with torch.no_grad():
        for weight in first.parameters():
            weight.add_(0.3)
    assert first(rich_batch())[0].item() != pytest.approx(second(rich_batch())[0].item(), rel=1e-4)
    second.load_state_dict(first.state_dict())
    assert first(rich_batch())[0].item() == pytest.approx(second(rich_batch())[0].item(), rel=1e-6)


@pytest.mark.parametrize(
    ("weights", "settings", "message"),
    [
        ({}, {}, "no objective to learn from"),
        ({"clip": 0.0}, {}, "weight of objective 'clip' is 0"),
        ({"clip": math.nan}, {}, "weight of objective 'clip' is nan"),
        ({"clap": 1.0}, {}, "no objective 'clap'"),
        ({"clip": 1.0}, {"supcon": {"temperature": 1.0}}, "settings for 'supcon'"),
    ],
)
def test_senseless_combinations_are_refused(
    weights: dict[str, float], settings: dict[str, dict[str, float]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Combined(weights, dim=DIM, n_classes=N_CLASSES, settings=settings)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_another_caption_of_the_same_item_is_no_negative(name: str) -> None:
    """Two views of one unlabelled item drew two of its captions: they belong together as if they had drawn one."""
    images, texts = random_rows(4, DIM, 1), random_rows(4, DIM, 2)
    apart = batch_of(images, texts=texts, text_of=codes(0, 1, 2, 3))
    of_one = batch_of(images, items=codes(0, 0, 1, 2), texts=texts, text_of=codes(0, 1, 2, 3))
    labelled = batch_of(images, labels=codes(5, 5, -1, -1), texts=texts, text_of=codes(0, 1, 2, 3))
    losses = [float(built(name)(batch).detach()) for batch in (apart, of_one, labelled)]
    assert losses[1] == pytest.approx(losses[2], rel=1e-6)
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
