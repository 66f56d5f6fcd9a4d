"""What goes over the wire: questions as they are checked, and answers as they are promised."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

ID = r"^[A-Za-z0-9_-]{16}$"
DIGEST = r"^[0-9a-f]{64}$"
MOST_HITS = 1000
MOST_EXAMPLES = 64
MOST_NUMBERS = 8192
MOST_CHOSEN = 5000

OpaqueId = Annotated[str, Field(pattern=ID, description="An id that this server gave; it says nothing by itself.")]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]
Weight = Annotated[float, Field(allow_inf_nan=False, ge=-10, le=10, description="Not 0; below 0 pushes away.")]
FilterValue = (
    Annotated[bool, Field(strict=True)] | Annotated[float, Field(allow_inf_nan=False, strict=True)] | str | None
)


class Asked(BaseModel):
    """Unknown fields are refused, so that a misspelt one is never passed over."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RectangleIn(Asked):
    """A box on a slide, in level-0 pixels."""

    slide: OpaqueId
    x: Annotated[float, Field(ge=0, le=1e7)]
    y: Annotated[float, Field(ge=0, le=1e7)]
    width: Annotated[float, Field(gt=0, le=1e7)]
    height: Annotated[float, Field(gt=0, le=1e7)]


class PolygonIn(Asked):
    """A closed outline on a slide, its corners in level-0 pixels."""

    slide: OpaqueId
    polygon: Annotated[
        list[Annotated[list[Annotated[float, Field(ge=0, le=1e7)]], Field(min_length=2, max_length=2)]],
        Field(min_length=3, max_length=2000, fail_fast=True),
    ]


class ItemExample(Asked):
    """Something like this item."""

    item: OpaqueId
    weight: Weight = 1.0


class VectorExample(Asked):
    """Something near this vector, which has as many numbers as the archive's own.

    `file` goes on with the vector of an upload: where the archive holds the very file, its patient is still left out.
    """

    vector: Annotated[list[Number], Field(min_length=1, max_length=MOST_NUMBERS, fail_fast=True)]
    file: Annotated[str, Field(pattern=DIGEST, description="`query.file` of the answer to the upload.")] | None = None
    weight: Weight = 1.0


class TextExample(Asked):
    """Something like these words."""

    text: Annotated[str, Field(min_length=1, max_length=1000)]
    weight: Weight = 1.0


def _shape_of(value: Any) -> str:
    held = value if isinstance(value, dict) else vars(value) if isinstance(value, BaseModel) else {}
    return "polygon" if "polygon" in held else "rectangle"


RegionIn = Annotated[
    Annotated[RectangleIn, Tag("rectangle")] | Annotated[PolygonIn, Tag("polygon")], Discriminator(_shape_of)
]


class RegionExample(Asked):
    """Something like this part of a slide."""

    region: RegionIn
    weight: Weight = 1.0


def _kind_of(value: Any) -> str | None:
    held = value if isinstance(value, dict) else vars(value) if isinstance(value, BaseModel) else {}
    return next((kind for kind in ("item", "vector", "text", "region") if kind in held), None)


ExampleIn = Annotated[
    Annotated[ItemExample, Tag("item")]
    | Annotated[VectorExample, Tag("vector")]
    | Annotated[TextExample, Tag("text")]
    | Annotated[RegionExample, Tag("region")],
    Discriminator(
        _kind_of,
        custom_error_type="no_example",
        custom_error_message="an example holds one of item, vector, text and region",
    ),
]


class ValuesFilter(Asked):
    """Only items that have one of these values in a column; null means no value."""

    column: Annotated[str, Field(min_length=1, max_length=200)]
    values: Annotated[list[FilterValue], Field(min_length=1, max_length=200, fail_fast=True)]


class RangeFilter(Asked):
    """Only items whose value in a column lies between two ends, which belong to it; one may be missing."""

    column: Annotated[str, Field(min_length=1, max_length=200)]
    min: Number | Annotated[str, Field(max_length=40)] | None = None
    max: Number | Annotated[str, Field(max_length=40)] | None = None


def _filter_of(value: Any) -> str:
    held = value if isinstance(value, dict) else vars(value) if isinstance(value, BaseModel) else {}
    return "values" if "values" in held else "range"


FilterIn = Annotated[
    Annotated[ValuesFilter, Tag("values")] | Annotated[RangeFilter, Tag("range")], Discriminator(_filter_of)
]


class SearchIn(Asked):
    """A question: examples, and the rules that hits must keep."""

    examples: Annotated[list[ExampleIn], Field(max_length=MOST_EXAMPLES, fail_fast=True)] = []
    k: Annotated[int, Field(ge=1, le=MOST_HITS)] = 25
    filters: Annotated[list[FilterIn], Field(max_length=32, fail_fast=True)] = []
    only: Annotated[list[OpaqueId], Field(max_length=MOST_CHOSEN, fail_fast=True)] | None = Field(
        default=None, description="Only among these items."
    )
    exclude_group: Annotated[bool, Field(description="Leave out the patients that the query comes from.")] = True
    collapse: Annotated[bool, Field(description="Show near-duplicates once, the best of them.")] = True
    per_slide: Annotated[int, Field(ge=1, le=MOST_HITS)] | None = 3
    min_score: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] | None = None


class Question(SearchIn):
    """A question with at least one example."""

    examples: Annotated[list[ExampleIn], Field(min_length=1, max_length=MOST_EXAMPLES, fail_fast=True)]


class HeatIn(SearchIn):
    """A question, and the slide over which its similarity is wanted."""

    slide: OpaqueId
    examples: Annotated[list[ExampleIn], Field(min_length=1, max_length=MOST_EXAMPLES, fail_fast=True)]


class KeyIn(Asked):
    """A key, to open a session in the browser with."""

    key: Annotated[str, Field(min_length=1, max_length=200)]


class BoxOut(BaseModel):
    """A rectangle in level-0 pixels."""

    x: int
    y: int
    width: int
    height: int


class SlideRef(BaseModel):
    """A slide by its id and its name here."""

    id: str
    name: str


ColumnValue = str | bool | int | float | None


class ItemOut(BaseModel):
    """An item as the archive shows it: no path, no file name, no patient."""

    id: str
    label: str | None
    label_source: Literal["expert", "dataset", "predicted"] | None
    slide: SlideRef | None
    patient: str | None
    box: BoxOut | None
    mpp: float | None
    width_um: float | None
    height_um: float | None
    columns: dict[str, ColumnValue]


class HitOut(ItemOut):
    """An item found: its rank from 1, its cosine, and how near that is by what was measured."""

    rank: int
    score: float
    closeness: Literal["close", "related", "weak"] | None


class VoteLabel(BaseModel):
    """A label among the hits: how many carry it, of how many patients, and how many are of nobody knows whom."""

    label: str
    count: int
    share: float
    n_patients: int
    n_unknown: int


class VoteOut(BaseModel):
    """How the hits vote, and how far that vote can be trusted; never a diagnosis.

    `reliability` is that of `n_queries` held-out queries of `n_query_groups` patients, with the ends of its interval.
    """

    labels: list[VoteLabel]
    n_patients: int
    n_unknown: int
    winner: str | None
    reliability: float | None
    reliability_low: float | None
    reliability_high: float | None
    n_queries: int | None
    n_query_groups: int | None
    abstain: bool
    reason: str | None


class QueryOut(BaseModel):
    """The question as one unit vector, with which a client goes on asking, and its digest.

    `file` is the SHA-256 of an upload's bytes; null where nothing was uploaded.
    """

    vector: list[float]
    digest: str
    file: str | None = None


class SearchOut(BaseModel):
    """Hits, best first."""

    index_version: str
    took_ms: float
    query: QueryOut
    hits: list[HitOut]
    vote: VoteOut | None
    warnings: list[str]
    first_weak: int | None


class CountedValue(BaseModel):
    """A value of a column and how many items have it."""

    value: ColumnValue
    count: int


class ColumnOut(BaseModel):
    """A column to filter by."""

    name: str
    kind: Literal["text", "number", "bool", "date"]
    values: list[CountedValue] | None
    min: float | str | None
    max: float | str | None


class ReliabilityOut(BaseModel):
    """Of the held-out queries whose hits voted for a label, how many carry it, and the ends of the interval."""

    label: str
    precision: float
    low: float
    high: float
    n_queries: int
    n_groups: int


class IndexOut(BaseModel):
    """What the archive says of itself."""

    name: str
    version: str
    n_items: int
    n_slides: int
    n_patients: int
    encoder: str
    fingerprint: str
    dim: int
    has_text: bool
    text_why_not: str | None
    mpp: float | None
    licence: str | None
    columns: list[ColumnOut]
    search_recall: float | None
    reliability: list[ReliabilityOut] | None
    floor: float | None
    has_map: bool


class SessionOut(BaseModel):
    """Who is asking: a role, whether a key is needed, and the token that unsafe requests of a browser carry."""

    role: Literal["read", "write"] | None
    needs_key: bool
    csrf: str | None


class ProblemOut(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


class HealthOut(BaseModel):
    """Whether the server lives, or is ready."""

    status: Literal["ok"]
