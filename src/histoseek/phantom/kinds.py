"""The kinds of tissue, one short function each; sizes are in µm, stain in optical density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from histoseek.phantom import glands as gland
from histoseek.phantom.canvas import Canvas, Floats, ramp
from histoseek.phantom.cells import Cells, divide
from histoseek.phantom.fibres import Course, lay_course, strands
from histoseek.phantom.noise import cloud, scatter, smooth_noise
from histoseek.phantom.nuclei import Chromatin, cover, make_bodies, stamp

SPINDLE = Chromatin(ragged=0.12, grain=0.2, open=0.15)
ROUND = Chromatin(ragged=0.07, grain=0.35, open=0.2)
COLUMNAR = Chromatin(ragged=0.08, grain=0.22, open=0.25)
CROWDED = Chromatin(ragged=0.1, grain=0.22, open=0.3, nucleolus=0.2)
BIZARRE = Chromatin(ragged=0.13, grain=0.3, open=0.6, nucleolus=1.0)
BROKEN = Chromatin(ragged=0.35, grain=0.1, open=0.0)


def draw_stroma(canvas: Canvas) -> None:
    """Draw wavy collagen with spindle nuclei along it and a few capillaries."""
    rng = canvas.rng
    course = _collagen(canvas, angle=rng.uniform(0, np.pi), loose=rng.uniform(0.0, 1.0))
    _fibroblasts(canvas, course, spacing=rng.uniform(17, 26))
    _capillaries(canvas, spacing=rng.uniform(95, 150))


def _collagen(canvas: Canvas, angle: float, loose: float) -> Course:
    """Fill the canvas with bundles of fibres, the looser the more clefts between them."""
    grid, rng = canvas.grid, canvas.rng
    course = lay_course(grid, angle, wave_um=rng.uniform(7, 15), length_um=rng.uniform(50, 90), rng=rng)
    crimp = smooth_noise(grid, 9.0, rng) * np.float32(0.9)
    course = replace(course, across=course.across + crimp)
    bundle = strands(course, 8.0, 75.0, rng)
    fine = strands(course, 2.2, 24.0, rng)
    thread = strands(course, 1.0, 12.0, rng)
    tint = cloud(grid, 110.0, 3, rng)
    speck = smooth_noise(grid, 1.2, rng)
    eosin = 0.27 + 0.05 * bundle + 0.055 * fine + 0.035 * thread + 0.035 * tint + 0.015 * speck
    canvas.eosin[:] = np.maximum(eosin, 0.03)
    canvas.haematoxylin[:] = np.maximum(0.04 + 0.012 * bundle + 0.018 * fine + 0.018 * tint, 0.0)
    parting = 0.6 * bundle + 0.75 * fine + 0.3 * thread + 0.55 * tint
    edge = -2.0 + 1.0 * loose
    canvas.paint(ramp(parting, edge, edge - 0.5) * 0.95, 0.01, 0.03)
    return course


def _lamina_propria(canvas: Canvas, cells_every: float) -> None:
    """Fill the canvas with the loose tissue between glands: thin threads and many round cells."""
    grid, rng = canvas.grid, canvas.rng
    course = lay_course(grid, rng.uniform(0, np.pi), 14.0, 34.0, rng)
    web = (
        0.5 * strands(course, 2.6, 16.0, rng) + 0.35 * strands(course, 1.2, 9.0, rng) + 0.6 * cloud(grid, 22.0, 4, rng)
    )
    canvas.eosin[:] = np.maximum(0.18 + 0.07 * web, 0.015)
    canvas.haematoxylin[:] = np.maximum(0.04 + 0.015 * web, 0.0)
    canvas.paint(ramp(web, -1.0, -1.5) * 0.9, 0.005, 0.015)
    _fibroblasts(canvas, course, spacing=15.0)
    _capillaries(canvas, spacing=80.0)
    points = scatter(grid, cells_every, rng)
    some = rng.random(len(points.x)) < 0.6
    stamp(canvas, make_bodies(points.x, points.y, (2.9, 2.6), 0.78, rng).pick(some), ROUND)


def _fibroblasts(canvas: Canvas, course: Course, spacing: float, dark: float = 0.62) -> None:
    rng = canvas.rng
    points = scatter(canvas.grid, spacing, rng)
    nuclei = make_bodies(points.x, points.y, (6.5, 1.7), dark, rng, spread=0.22)
    angle = course.direction_at(points.x, points.y) + rng.normal(0, 0.16, len(nuclei)).astype(np.float32)
    stamp(canvas, replace(nuclei, angle=angle).pick(rng.random(len(nuclei)) < 0.85), SPINDLE)


def _capillaries(canvas: Canvas, spacing: float) -> None:
    """Draw small vessels: a thin wall with flat nuclei around red cells."""
    grid, rng = canvas.grid, canvas.rng
    points = scatter(grid, spacing, rng)
    chosen = rng.random(len(points.x)) < 0.7
    vessels = make_bodies(points.x, points.y, (11.0, 6.5), 1.0, rng, spread=0.25).pick(chosen)
    wall = cover(canvas, replace(vessels, long=vessels.long + 2.0, short=vessels.short + 2.0), 0.06)
    canvas.paint(wall, 0.08, 0.42)
    inside = cover(canvas, vessels, 0.06)
    canvas.paint(inside, 0.01, 0.05)
    _red_cells(canvas, inside, packing=6.0)
    turn = rng.uniform(0, 2 * np.pi, len(vessels))
    x = vessels.x + (vessels.long + 1.2) * np.cos(turn) * np.cos(vessels.angle)
    x -= (vessels.short + 1.2) * np.sin(turn) * np.sin(vessels.angle)
    y = vessels.y + (vessels.long + 1.2) * np.cos(turn) * np.sin(vessels.angle)
    y += (vessels.short + 1.2) * np.sin(turn) * np.cos(vessels.angle)
    nuclei = make_bodies(x, y, (4.6, 1.6), 0.72, rng)
    tangent = np.arctan2(vessels.short * np.cos(turn), -vessels.long * np.sin(turn)) + vessels.angle
    stamp(canvas, replace(nuclei, angle=tangent.astype(np.float32)), SPINDLE)


def _red_cells(canvas: Canvas, where: Floats, packing: float) -> None:
    rng = canvas.rng
    points = scatter(canvas.grid, packing, rng, rounds=3)
    cells = make_bodies(points.x, points.y, (3.2, 2.9), 1.0, rng, spread=0.07)
    inside = canvas.grid.take(where, points.x, points.y) > 0.5
    canvas.paint(cover(canvas, cells.pick(inside), 0.05) * where, 0.0, 0.62)


def draw_gland(canvas: Canvas) -> None:
    """Draw round glands: one row of basal nuclei, goblet cells, an open lumen, loose stroma between."""
    grid, rng = canvas.grid, canvas.rng
    _lamina_propria(canvas, cells_every=rng.uniform(8.5, 15))
    points = scatter(grid, rng.uniform(66, 88), rng)
    shapes = gland.shape_glands(points, rng.uniform(10, 20), rng.uniform(40, 58), 0.03, rng)
    inside = gland.fill(grid, shapes)
    height = np.minimum(rng.uniform(19, 25), 0.62 * inside.room)
    _epithelium(canvas, inside, height, basophil=0.09)
    _goblets(canvas, shapes, share=rng.uniform(0.25, 0.8))
    row = gland.line_up(shapes, 5.0, 4.9, 0.9, rng)
    nuclei = make_bodies(row.x, row.y, (3.9, 2.35), 0.62, rng)
    stamp(canvas, replace(nuclei, angle=row.inward), COLUMNAR)


def _epithelium(canvas: Canvas, inside: gland.Inside, height: Floats, basophil: float) -> None:
    """Paint the wall of glands, `height` µm thick, with faint borders between its cells, and clear their lumens."""
    grid, rng = canvas.grid, canvas.rng
    ragged = smooth_noise(grid, 5.0, rng) * np.float32(1.1)
    tint = cloud(grid, 40.0, 3, rng)
    level = inside.depth / np.maximum(height, 1.0)
    border = np.exp(-np.square((inside.arc / np.float32(5.6) + 0.08 * ragged) % 1.0 - 0.5) / 0.012)
    apex = np.exp(-np.square((height - inside.depth - ragged) / 1.1))
    eosin = 0.27 + 0.03 * tint + 0.05 * border + 0.12 * apex - 0.05 * level
    haematoxylin = basophil * (1.25 - 0.5 * level) + 0.02 * tint + 0.02 * border
    wall = ramp(inside.depth, -0.6, 0.6)
    canvas.paint(ramp(inside.depth, -2.6, -0.8) * (1 - wall), 0.03, 0.38)
    canvas.paint(wall, np.maximum(haematoxylin, 0.0), np.maximum(eosin, 0.0))
    lumen = ramp(inside.depth - height + ragged, -0.5, 0.9)
    slime = np.maximum(0.03 * cloud(grid, 18.0, 3, rng), 0.0)
    canvas.paint(lumen, 0.5 * slime, slime + 0.015)


def _goblets(canvas: Canvas, shapes: gland.Glands, share: float) -> None:
    """Empty some cells into drops of pale mucin above their nucleus."""
    rng = canvas.rng
    row = gland.line_up(shapes, 13.5, 6.6, 1.3, rng)
    drops = replace(make_bodies(row.x, row.y, (5.6, 3.6), 1.0, rng), angle=row.inward)
    drops = drops.pick(rng.random(len(drops)) < share)
    canvas.paint(cover(canvas, drops, 0.07), 0.05 + 0.02 * smooth_noise(canvas.grid, 2.0, rng), 0.04)


def draw_dysplastic_gland(canvas: Canvas) -> None:
    """Draw crowded irregular glands with piled-up dark long nuclei and slit-like or cribriform lumens."""
    grid, rng = canvas.grid, canvas.rng
    _lamina_propria(canvas, cells_every=rng.uniform(9, 16))
    points = scatter(grid, rng.uniform(74, 105), rng)
    shapes = gland.shape_glands(points, rng.uniform(3, 7), rng.uniform(80, 100), 0.06, rng)
    inside = gland.fill(grid, shapes)
    sieve = rng.random(len(points.x)) < rng.uniform(0.1, 0.6)
    height = np.minimum(rng.uniform(27, 34), 0.82 * inside.room)
    cribriform = np.append(sieve, False)[inside.owner]
    _epithelium(canvas, inside, np.where(cribriform, 1e3, height).astype(np.float32), basophil=0.15)
    holes = _sieve(canvas, cribriform & (inside.depth > 14.0))
    for level in range(3):
        row = gland.line_up(shapes, 6.5 + 7.2 * level, 4.3 + 0.7 * level, 2.2, rng)
        nuclei = replace(make_bodies(row.x, row.y, (5.6, 2.1), 0.70, rng, spread=0.2), angle=row.inward)
        free = grid.take(holes, row.x, row.y) < 0.2
        stamp(canvas, nuclei.pick(free & (rng.random(len(nuclei)) < (1.0, 0.92, 0.7)[level])), CROWDED)
    filling = scatter(grid, 6.2, rng)
    deep = grid.take(np.where(cribriform, inside.depth, 0.0).astype(np.float32), filling.x, filling.y) > 26.0
    deep &= grid.take(holes, filling.x, filling.y) < 0.1
    stamp(canvas, make_bodies(filling.x, filling.y, (4.6, 2.6), 0.8, rng, spread=0.16).pick(deep), CROWDED)


def _sieve(canvas: Canvas, where: NDArray[np.bool_]) -> Floats:
    """Punch round lumens into solid epithelium: returns how much of each pixel they take, `[H, W]`."""
    rng = canvas.rng
    points = scatter(canvas.grid, 31.0, rng)
    holes = make_bodies(points.x, points.y, (8.5, 6.5), 1.0, rng, spread=0.3)
    chosen = canvas.grid.take(where.astype(np.float32), points.x, points.y) > 0.5
    punched = cover(canvas, holes.pick(chosen), 0.12)
    canvas.paint(punched, 0.01, 0.025)
    return punched


def draw_solid_tumour(canvas: Canvas) -> None:
    """Draw sheets of large uneven nuclei with nucleoli, parted into nests by thin septa."""
    grid, rng = canvas.grid, canvas.rng
    _lamina_propria(canvas, cells_every=rng.uniform(12, 26))
    nests = _nests(canvas, spacing=rng.uniform(95, 190), septum=rng.uniform(2.0, 6.0))
    points = scatter(grid, rng.uniform(8.2, 10.4), rng)
    sheet = divide(grid, points, (0.9, 7.0), step_um=0.9, rng=rng)
    own = rng.standard_normal(len(points.x) + 1).astype(np.float32)[sheet.owner]
    membrane = np.exp(-np.square(sheet.wall / 0.6))
    tint = cloud(grid, 60.0, 3, rng)
    eosin = 0.25 + 0.035 * own + 0.07 * membrane + 0.02 * smooth_noise(grid, 1.6, rng) + 0.03 * tint
    canvas.paint(nests, np.maximum(0.12 + 0.02 * own + 0.02 * tint, 0.0), np.maximum(eosin, 0.02))
    inside = grid.take(nests, points.x, points.y) > 0.75
    nuclei = make_bodies(points.x, points.y, (4.9, 3.7), 0.62, rng, spread=0.24)
    fate = rng.random(len(nuclei))
    stamp(canvas, nuclei.pick(inside & (fate < 0.98)), BIZARRE)
    dividing = nuclei.pick(inside & (fate > 0.992))
    canvas.paint(cover(canvas, replace(dividing, long=dividing.long + 1.0)), 0.03, 0.15)
    plate = replace(dividing, short=dividing.short * 0.4, dark=dividing.dark * 1.5)
    stamp(canvas, plate, BROKEN)


def _nests(canvas: Canvas, spacing: float, septum: float) -> Floats:
    """Divide the tissue into nests: how much of each pixel lies inside one, `[H, W]`."""
    grid, rng = canvas.grid, canvas.rng
    parts = divide(grid, scatter(grid, spacing, rng), (14.0, 60.0), step_um=1.5, rng=rng)
    width = septum * np.exp(0.5 * cloud(grid, 80.0, 2, rng))
    return ramp(parts.wall - width, -0.5, 1.5)


def draw_fat(canvas: Canvas) -> None:
    """Draw large empty cells with thin walls and nuclei pressed flat against them."""
    grid, rng = canvas.grid, canvas.rng
    points = scatter(grid, rng.uniform(42, 64), rng)
    cells = divide(grid, points, (3.0, 30.0), step_um=0.8, rng=rng)
    tint = cloud(grid, 150.0, 2, rng)
    thick = 0.75 + 0.35 * np.maximum(tint, -1.0) + 3.0 * np.maximum(tint - 1.3, 0.0)
    wall = ramp(cells.wall - thick, 0.7, -0.7)
    canvas.eosin[:] = 0.008 + 0.25 * wall + 0.035 * wall * smooth_noise(grid, 2.0, rng)
    canvas.haematoxylin[:] = 0.004 + 0.05 * wall
    near = scatter(grid, 7.0, rng)
    pressed = np.abs(grid.take(cells.wall, near.x, near.y) - 1.2) < 1.0
    nuclei = make_bodies(near.x, near.y, (4.6, 1.6), 0.66, rng, spread=0.2)
    angle = Course(grid, cells.wall, cells.centre).direction_at(near.x, near.y)
    stamp(canvas, replace(nuclei, angle=angle).pick(pressed & (rng.random(len(nuclei)) < 0.22)), SPINDLE)
    _corner_vessels(canvas, cells)


def _corner_vessels(canvas: Canvas, cells: Cells) -> None:
    """Put red cells into some of the gaps where three fat cells meet."""
    gaps = ramp(cells.wall, -1.2, -2.4) * ramp(cloud(canvas.grid, 60.0, 1, canvas.rng), 0.3, 0.8)
    _red_cells(canvas, gaps, packing=5.8)


def draw_lymphoid(canvas: Canvas) -> None:
    """Draw packed small round dark nuclei, at times around the paler centre of a follicle."""
    grid, rng = canvas.grid, canvas.rng
    web = cloud(grid, 14.0, 4, rng)
    canvas.eosin[:] = np.maximum(0.11 + 0.055 * web, 0.01)
    canvas.haematoxylin[:] = np.maximum(0.06 + 0.03 * web, 0.0)
    canvas.paint(ramp(web, -0.6, -1.2), 0.01, 0.02)
    points = scatter(grid, rng.uniform(5.2, 6.2), rng)
    centre = _follicles(canvas) if rng.random() < 0.6 else np.zeros(grid.shape, dtype=np.float32)
    canvas.paint(centre * 0.6, 0.08 + 0.02 * web, 0.17 + 0.05 * web)
    pale = grid.take(centre, points.x, points.y) > 0.5
    lot = rng.random(len(points.x))
    small = make_bodies(points.x, points.y, (2.75, 2.5), 0.86, rng, spread=0.1)
    large = make_bodies(points.x, points.y, (3.5, 3.0), 0.6, rng, spread=0.16)
    sparse = grid.take(cloud(grid, 30.0, 2, rng), points.x, points.y) > 1.7
    stamp(canvas, small.pick(~pale & ~sparse & (lot < 0.94)), ROUND)
    stamp(canvas, large.pick(pale & (lot < 0.62)), replace(COLUMNAR, nucleolus=0.4))
    trabeculae = scatter(grid, rng.uniform(70, 120), rng)
    bands = make_bodies(trabeculae.x, trabeculae.y, (24.0, 2.6), 1.0, rng, spread=0.3)
    canvas.paint(cover(canvas, bands.pick(rng.random(len(bands)) < 0.5), 0.3) * 0.75, 0.05, 0.33)


def _follicles(canvas: Canvas) -> Floats:
    """Lay out germinal centres: how much of each pixel lies in one, `[H, W]`."""
    rng = canvas.rng
    points = scatter(canvas.grid, 230.0, rng)
    bodies = make_bodies(points.x, points.y, (78.0, 62.0), 1.0, rng, spread=0.2)
    return cover(canvas, bodies.pick(rng.random(len(bodies)) < 0.75), 0.03)


def draw_mucin(canvas: Canvas) -> None:
    """Draw pale blue-grey pools between thin septa, with clusters of cells afloat in them."""
    grid, rng = canvas.grid, canvas.rng
    course = _collagen(canvas, rng.uniform(0, np.pi), loose=0.4)
    _fibroblasts(canvas, course, spacing=14.0)
    pools = _nests(canvas, spacing=rng.uniform(150, 260), septum=rng.uniform(3.0, 8.0))
    flow = lay_course(grid, rng.uniform(0, np.pi), 10.0, 60.0, rng)
    threads = np.maximum(strands(flow, 2.2, 22.0, rng) + 0.9 * cloud(grid, 40.0, 2, rng) - 0.7, 0.0)
    body = 0.075 + 0.018 * cloud(grid, 90.0, 3, rng) + 0.007 * smooth_noise(grid, 2.0, rng) + 0.02 * threads
    canvas.paint(pools, np.maximum(body, 0.01), 0.03 + 0.012 * threads)
    clusters = scatter(grid, rng.uniform(75, 120), rng)
    rafts = make_bodies(clusters.x, clusters.y, (20.0, 13.0), 1.0, rng, spread=0.3)
    afloat = grid.take(pools, clusters.x, clusters.y) > 0.9
    raft = cover(canvas, rafts.pick(afloat & (rng.random(len(rafts)) < 0.8)), 0.14) * pools
    tint = smooth_noise(grid, 4.0, rng)
    canvas.paint(raft, 0.13 + 0.02 * tint, 0.24 + 0.03 * tint)
    places = scatter(grid, 7.0, rng)
    crowd = grid.take(raft, places.x, places.y) > 0.85
    stamp(canvas, make_bodies(places.x, places.y, (4.0, 3.0), 0.72, rng, spread=0.18).pick(crowd), CROWDED)
    _signet_rings(canvas, pools - raft)


def _signet_rings(canvas: Canvas, where: Floats) -> None:
    """Draw lone cells whose drop of mucin pushes the nucleus aside."""
    grid, rng = canvas.grid, canvas.rng
    points = scatter(grid, 42.0, rng)
    alone = (grid.take(where, points.x, points.y) > 0.9) & (rng.random(len(points.x)) < 0.45)
    cells = make_bodies(points.x, points.y, (8.0, 7.0), 1.0, rng, spread=0.12)
    pushed_x = cells.x + (cells.long - 1.6) * np.cos(cells.angle)
    pushed_y = cells.y + (cells.long - 1.6) * np.sin(cells.angle)
    nuclei = make_bodies(pushed_x, pushed_y, (4.2, 1.7), 0.8, rng)
    nuclei = replace(nuclei, angle=(cells.angle + np.pi / 2).astype(np.float32)).pick(alone)
    cells = cells.pick(alone)
    canvas.paint(cover(canvas, cells, 0.05), 0.11, 0.26)
    canvas.paint(cover(canvas, replace(cells, long=cells.long - 1.1, short=cells.short - 1.1), 0.05), 0.05, 0.05)
    stamp(canvas, nuclei, CROWDED)


def draw_necrosis(canvas: Canvas) -> None:
    """Draw pink granular debris with ghosts of cells and dark fragments of nuclei."""
    grid, rng = canvas.grid, canvas.rng
    ghosts = divide(grid, scatter(grid, 10.5, rng), (1.8, 8.0), step_um=1.0, rng=rng)
    large, clod = cloud(grid, 80.0, 3, rng), cloud(grid, 9.0, 3, rng)
    grain = smooth_noise(grid, 1.6, rng)
    kept = ramp(cloud(grid, 45.0, 2, rng), -0.3, 0.8)
    outline = np.exp(-np.square(ghosts.wall / 0.9)) * kept
    body = ramp(ghosts.centre, 5.0, 2.0) * kept
    eosin = 0.27 + 0.07 * large + 0.045 * clod + 0.03 * grain - 0.12 * outline + 0.05 * body
    canvas.eosin[:] = np.maximum(eosin, 0.03)
    canvas.haematoxylin[:] = np.maximum(0.05 + 0.03 * large + 0.015 * clod + 0.012 * grain + 0.035 * body, 0.0)
    crack = cloud(grid, 30.0, 4, rng) - 0.5 * large
    canvas.paint(ramp(crack, 1.9, 2.4), 0.01, 0.03)
    dust = scatter(grid, rng.uniform(4.2, 6.0), rng)
    density = grid.take(cloud(grid, 55.0, 3, rng), dust.x, dust.y)
    some = rng.random(len(dust.x)) < 0.45 * ramp(density, 0.0, 1.8) + 0.03
    stamp(canvas, make_bodies(dust.x, dust.y, (1.0, 0.75), 0.7, rng, spread=0.4).pick(some), BROKEN)
    shrunk = scatter(grid, 17.0, rng)
    left = rng.random(len(shrunk.x)) < 0.4 * ramp(grid.take(large, shrunk.x, shrunk.y), 1.2, -1.2)
    stamp(canvas, make_bodies(shrunk.x, shrunk.y, (2.5, 2.0), 0.85, rng, spread=0.25).pick(left), BROKEN)


@dataclass(frozen=True)
class Kind:
    """A kind of tissue: what it is called, what is seen in it, and the function that fills a canvas with it."""

    name: str
    description: str
    fill: Callable[[Canvas], None]


TABLE: tuple[Kind, ...] = (
    Kind("gland", "round glands lined by one row of basal nuclei and goblet cells", draw_gland),
    Kind("dysplastic gland", "crowded irregular glands with dark stratified nuclei", draw_dysplastic_gland),
    Kind("solid tumour", "nests of large uneven tumour cells with nucleoli", draw_solid_tumour),
    Kind("stroma", "wavy pink collagen fibres with sparse spindle nuclei", draw_stroma),
    Kind("fat", "large empty fat cells with thin walls", draw_fat),
    Kind("lymphoid", "densely packed small round dark lymphocytes", draw_lymphoid),
    Kind("mucin", "pale pools of mucin with floating clusters of cells", draw_mucin),
    Kind("necrosis", "pink granular necrosis with nuclear debris", draw_necrosis),
)
KINDS: tuple[str, ...] = tuple(kind.name for kind in TABLE)
DESCRIPTIONS: dict[str, str] = {kind.name: kind.description for kind in TABLE}
