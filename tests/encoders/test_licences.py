from __future__ import annotations

from pathlib import Path

import pytest

from histoseek.encoders.licences import commercial_use, licence_in_readme


@pytest.mark.parametrize(
    ("front_matter", "licence", "commercial"),
    [
        ("license: mit", "MIT", True),
        ("tags:\n- clip\nlicense: 'apache-2.0'\n", "Apache-2.0", True),
        ("license: cc-by-nc-nd-4.0", "CC BY-NC-ND 4.0", False),
        ("license: other\nlicense_name: kaiko-non-commercial", "kaiko-non-commercial", None),
        ("license: other", None, None),
        ("tags: [license]", None, None),
    ],
)
def test_licence_of_a_model_card(
    tmp_path: Path, front_matter: str, licence: str | None, commercial: bool | None
) -> None:
    (tmp_path / "README.md").write_text(f"---\n{front_matter}\n---\nlicense: gpl\n")
    assert licence_in_readme(tmp_path) == licence
    assert licence is None or commercial_use(licence) is commercial


def test_a_silent_folder_states_nothing(tmp_path: Path) -> None:
    assert licence_in_readme(tmp_path) is None
    (tmp_path / "README.md").write_text("license: mit\n")
    assert licence_in_readme(tmp_path) is None
