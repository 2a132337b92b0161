#!/usr/bin/env bash
# Teaches the quickstart's extended model to answer questions about long texts, and counts right answers about
# novels that nothing was trained on. What it reached is in docs/sft.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/answers.sh
source "$(dirname "${BASH_SOURCE[0]}")/answers.sh"

readonly LONGLORA="$REPO/build/release/longlora"
readonly BASE="$REPO/models/tiny-novels"
readonly EXTENDED="$REPO/quickstart-out/longlora"
readonly OUT="$REPO/quickstart-out/answers"

usage() {
  cat <<'TEXT'
Usage: scripts/long_answers.sh

Needs what ./quickstart.sh leaves: the program and quickstart-out/longlora. Makes questions out of the embedded
novels (a fact to find, a sentence to copy, which of two came first), trains on those about the training novels
(sft, in bfloat16 and with weights in four bits), and answers those about the held-out novels without and with it:
quickstart-out/answers/*.json. Takes about 20 minutes on one core; a training that was interrupted goes on where it was.
TEXT
}

case "${1:-}" in
  '') ;;
  --help | -h) usage && exit 0 ;;
  *) usage_error "unknown option '$1'" ;;
esac
if [[ ! -x $LONGLORA || ! -f $EXTENDED/adapter_model.safetensors ]]; then
  die "[long answers] expected build/release/longlora and quickstart-out/longlora, found less; run ./quickstart.sh first"
fi
mkdir -p "$OUT"

# The novels that the extension was trained on lie in the repository as ids.
make_questions() {
  rm -f "$OUT/training-novels.txt" # a text of its own tokenize does not know, and does not replace
  "$LONGLORA" tokenize --tokenizer "$BASE" --decode --skip_special_tokens False \
    --input "$BASE/data/extend-4096.bin" --output "$OUT/training-novels.txt" &&
    {
      questions count=1700 seed=1 max_words=350 dialogues=1 "$OUT/training-novels.txt" &&
        questions count=300 seed=2 min_words=350 dialogues=1 "$OUT/training-novels.txt"
    } >"$OUT/train.jsonl" &&
    questions count=300 seed=3 "$BASE"/data/heldout-*.txt >"$OUT/heldout.jsonl"
}

merge_extension() {
  "$LONGLORA" merge --base_model "$BASE" --peft_model "$EXTENDED" --save_path "$OUT/extended" --dtype float32 --overwrite True
}

# teach_novels NAME FLAG...: trains the adapter $OUT/NAME.
teach_novels() {
  local name=$1
  shift
  teach "$OUT/extended" "$OUT/$name" --data_path "$OUT/train.jsonl" --model_max_length 4096 --lora_r 32 --lora_alpha 64 \
    --learning_rate 1.5e-3 --warmup_steps 20 --save_steps 50 "$@"
}

# show LOG: the table that an examination ended with.
show() {
  sed -n '/exact$/,$p' "$REPO/build/logs/$1.log"
}

# examine NAME FLAG...: right answers about the held-out novels into $OUT/NAME.json.
examine() {
  local name=$1
  shift
  answer "$OUT/extended" "$OUT/heldout.jsonl" "$name" "$OUT/$name.json" "$@"
}

step "Questions about the novels" make_questions
step "Merge the extended model" merge_extension
step "Answers without teaching" examine before
step "Teach it to answer" teach_novels sft
step "Answers" examine after --peft_model "$OUT/sft"
step "Teach it in four bits" teach_novels sft-nf4 --quantize nf4
step "Answers in four bits" examine after-nf4 --peft_model "$OUT/sft-nf4" --quantize nf4
show answers
show answers-in-four-bits
