#!/usr/bin/env bash
# The method on weights that the world uses: SmolLM2-135M from 8192 to 32768 tokens, against what comes without
# training and a control. What it found is in docs/real-model.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/answers.sh
source "$(dirname "${BASH_SOURCE[0]}")/answers.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/real_model.sh --novels DIR [OPTION]...

Extends a real model to four times its window with LongLoRA, measures it on novels that it was not extended on, and
teaches it to answer questions about long texts. Made for a night on a machine with two cores: it says first how long
it will take, computes at the lowest priority, and goes on where it was when it is started again, however it ended.

  --novels DIR     Project Gutenberg's plain-text files of novels, 20 or more, under Project Gutenberg's names
  --held_out NAMES files of DIR that nothing is trained on, at least three, joined by commas
                   (pg768.txt,pg174.txt,pg345.txt: Wuthering Heights, The Picture of Dorian Gray, Dracula)
  --model DIR      Hugging Face directory of the model (default: SmolLM2-135M-Instruct, which
                   scripts/get_model.sh fetches into models/smollm2)
  --out OUT        folder of results (default: real-model-out)
  --memory GIB     memory that a step may take (default: 80 % of what is free)
  --longlora FILE  the program (default: build/release/longlora)
  --plan           only say how long it will take
  --quick          the same chain on the embedded model in minutes, to try it out
  --help           this text

Novels: open https://www.gutenberg.org/ebooks/768 and the like, take "Plain Text UTF-8", and save each as
pg768.txt and so on. models/tiny-novels/README.md names thirty of them.

Results bear a key in their names that is made of all that decides them: the model's files, the data and the flags.
So nothing is computed twice, and what other settings gave stays beside it. OUT/report is written
again after every part. Stop it with Ctrl-C, or in the background with kill -TERM -- -PROCESS_GROUP.
TEXT
}

novels='' held_out=pg768.txt,pg174.txt,pg345.txt model='' out="$REPO/real-model-out" memory='' only_plan='' quick=''
LONGLORA="$REPO/build/release/longlora"
while (($# > 0)); do
  case "$1" in
    --plan) only_plan=1 ;;
    --quick) quick=1 ;;
    --help | -h) usage && exit 0 ;;
    --novels | --held_out | --model | --out | --memory | --longlora)
      (($# > 1)) || usage_error "expected a value after $1, got nothing"
      case "$1" in
        --novels) novels=$2 ;;
        --held_out) held_out=$2 ;;
        --model) model=$2 ;;
        --out) out=$2 ;;
        --memory) memory=$2 ;;
        --longlora) LONGLORA=$2 ;;
      esac
      shift
      ;;
    *) usage_error "unknown option '$1'" ;;
  esac
  shift
done
[[ -n $novels ]] || usage_error "expected --novels DIR, got nothing"
[[ -d $novels ]] || usage_error "--novels: expected a folder, got '$novels'"
[[ $held_out == *,*,* ]] || usage_error "--held_out: expected at least three names joined by commas, got '$held_out'"
[[ -x $LONGLORA ]] || die "[real model] expected the program $LONGLORA, found none; ./quickstart.sh --build-only builds it"
readonly LONGLORA novels held_out only_plan

# What a run is made of; each row is a step. Passkey's lengths are in sixteenths of the model's own window, counted in
# tokens of Llama's tokenizer.
if [[ -n $quick ]]; then
  model=${model:-$REPO/models/tiny-novels}
  readonly ROWS=6 FULL_ROWS=2 WINDOWS=4 TARGET_TOKENS=64 TRIALS=2 LEARNING_RATE=8e-4 KEY_SIXTEENTHS="14 28 52"
  readonly DIALOGUES=40 LONG_DIALOGUES=4 QUESTIONS=12 LONG_QUESTIONS=3
else
  readonly ROWS=16 FULL_ROWS=4 WINDOWS=4 TARGET_TOKENS=1024 TRIALS=5 LEARNING_RATE=3e-4 KEY_SIXTEENTHS="8 15 30 60"
  readonly DIALOGUES=600 LONG_DIALOGUES=30 QUESTIONS=150 LONG_QUESTIONS=30
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
readonly OUT=$out
if [[ -z $model ]]; then
  model=$REPO/models/smollm2
  step "SmolLM2-135M-Instruct" env LONGLORA="$LONGLORA" "$REPO/scripts/get_model.sh" smollm2 "$model"
fi
[[ -f $model/config.json ]] || die "[--model] expected a Hugging Face directory, found no $model/config.json"
readonly MODEL=$model
readonly PLAIN="$REPO/scripts/plain_instructions.jsonl"

exec 9>"$OUT/lock"
flock -n 9 || die "[--out] $OUT is in use by another run of this script; wait for it or choose another folder"
renice -n 19 $$ >/dev/null

# number_in FILE KEY: the number under a key of a JSON file that has one field a line.
number_in() {
  sed -n "s/^ *\"$2\": *\\([-+0-9.e]*\\),\\{0,1\\}\$/\\1/p" "$1" | head -n 1
}

BASE_WINDOW=$(number_in "$MODEL/config.json" max_position_embeddings)
[[ -n $BASE_WINDOW ]] || die "[--model] expected max_position_embeddings in $MODEL/config.json, found none"
readonly BASE_WINDOW WINDOW=$((4 * BASE_WINDOW))
readonly LENGTHS=($((BASE_WINDOW / 4)) "$BASE_WINDOW" $((2 * BASE_WINDOW)) "$WINDOW")
key_lengths=()
for sixteenths in $KEY_SIXTEENTHS; do key_lengths+=($((BASE_WINDOW * sixteenths / 16))); done
readonly KEY_LENGTHS=("${key_lengths[@]}")
memory_flags=()
if [[ -n $memory ]]; then memory_flags=(--memory_budget "$memory"); fi
readonly memory_flags

# key WORD...: ten digits that stand for the words.
key() { printf '%s\n' "$@" | sha256sum | cut -c1-10; }

# content FILE...: the same for what is in files.
content() { sha256sum "$@" | cut -d' ' -f1 | sha256sum | cut -c1-10; }

# make TEXT RESULT COMMAND...: a step that makes a file or folder, unless it is there. The command lies beside it.
make() {
  local text=$1 result=$2
  shift 2
  if [[ -e $result ]]; then return; fi
  {
    printf '%s\n' "$("$LONGLORA" --version | head -n 1)"
    printf '%q ' "$@"
    printf '\n'
  } >"${result%/adapter_model.safetensors}.command"
  step "$text" "$@"
}

# ----- data -------------------------------------------------------------------------------------------------------

MODEL_KEY=$(content "$MODEL/config.json" "$MODEL"/*.safetensors "$MODEL"/tokenizer.*)
TEXT_KEY=$(key "$MODEL_KEY" "$(content "$novels"/*.txt)" "$held_out")
readonly MODEL_KEY TEXT_KEY
readonly DATA=$OUT/data-$TEXT_KEY
readonly ROWS_FILE=$DATA/rows-$ROWS-of-$WINDOW.bin

make_data() {
  local folder=$DATA.part
  rm -rf "$folder"
  python3 "$REPO/models/tiny-novels/recipe/novels.py" --novels "$novels" --held_out "$held_out" --output "$folder" &&
    "$LONGLORA" tokenize --tokenizer "$MODEL" --input "$folder/training" --output "$folder/training.bin" &&
    "$LONGLORA" tokenize --tokenizer "$MODEL" --input "$folder/heldout" --output "$folder/heldout.bin" &&
    mv "$folder" "$DATA"
}

# Rows that are spread evenly over the training novels: all runs learn from these tokens, cut to their own length.
cut_rows() {
  local tokens rows row i
  tokens=$(number_in "$DATA/training.bin.json" num_tokens)
  rows=$((tokens / WINDOW))
  if ((rows < ROWS)); then
    echo "[--novels] expected $ROWS rows of $WINDOW tokens of training novels, got $rows; add novels"
    return 1
  fi
  row=$((WINDOW * $(stat -c %s "$DATA/training.bin") / tokens)) # bytes: an id takes two or four
  for ((i = 0; i < ROWS; ++i)); do
    dd if="$DATA/training.bin" bs="$row" skip=$((i * rows / ROWS)) count=1 status=none || return 1
  done >"$ROWS_FILE.part"
  mv "$ROWS_FILE.part" "$ROWS_FILE"
}

# make_questions FOLDER SHORT LONG SEED SETTING...: about short and long stretches of the novels in a folder.
make_questions() {
  local folder=$1 short=$2 long=$3 seed=$4
  shift 4
  questions count="$short" seed="$seed" max_words=$((BASE_WINDOW / 6)) "$@" "$folder"/*.txt &&
    questions count="$long" seed=$((seed + 1)) min_words=$((BASE_WINDOW / 6)) max_words=$((WINDOW / 2)) "$@" \
      "$folder"/*.txt
}

# The two files of questions: to learn from, and to be examined with.
make_question_files() {
  rm -rf "$1.part" && mkdir "$1.part" || return 1
  make_questions "$DATA/training" "$DIALOGUES" "$LONG_DIALOGUES" 1 dialogues=1 >"$1.part/train.jsonl" &&
    make_questions "$DATA/heldout" "$QUESTIONS" "$LONG_QUESTIONS" 3 >"$1.part/heldout.jsonl" && mv "$1.part" "$1"
}

# ----- models -----------------------------------------------------------------------------------------------------

# What each model is called, and how it differs from the base: flags of its training, or none.
declare -A LABEL=(
  [base]="base as it is" [linear]="linear alone" [yarn]="YaRN alone"
  [longlora-yarn]="LongLoRA (YaRN)" [longlora-linear]="LongLoRA (linear)"
  [control]="control at $BASE_WINDOW" [control-yarn]="control at $BASE_WINDOW, then YaRN"
  [no-tail]="LongLoRA (YaRN), S2 rows alone" [plain-lora]="LoRA (YaRN), without embed and norm"
)
readonly EXTENSION="--model_max_length $WINDOW --max_steps $ROWS"
declare -A TRAINING=(
  [longlora-yarn]="$EXTENSION --full_attention_steps $FULL_ROWS --rope_scaling yarn"
  [longlora-linear]="$EXTENSION --full_attention_steps $FULL_ROWS --rope_scaling linear"
  [no-tail]="$EXTENSION --rope_scaling yarn"
  [plain-lora]="$EXTENSION --full_attention_steps $FULL_ROWS --rope_scaling yarn --trainable_params none"
  [control]="--model_max_length $BASE_WINDOW --max_steps $ROWS --per_device_train_batch_size 4 --attention full"
)
readonly COMMON="--learning_rate $LEARNING_RATE --lr_scheduler_type cosine --warmup_steps 2 --adam_beta2 0.95 --shuffle False"

# adapter NAME: the folder of a model's adapter.
adapter() {
  printf '%s/%s-%s' "$OUT" "$1" "$(key "$TEXT_KEY" "$COMMON ${TRAINING[$1]}")"
}

# set_model_flags NAME: how eval and passkey are told of a model, into model_flags.
set_model_flags() {
  case "$1" in
    base) model_flags=(--rope_scaling none) ;;
    linear | yarn) model_flags=(--rope_scaling "$1") ;;
    control) model_flags=(--peft_model "$(adapter control)" --rope_scaling none) ;;
    control-yarn) model_flags=(--peft_model "$(adapter control)" --rope_scaling yarn) ;;
    *) model_flags=(--peft_model "$(adapter "$1")") ;;
  esac
}

# result KIND NAME WORD...: the file of a result.
result() {
  local kind=$1 name=$2 words
  shift 2
  set_model_flags "$name"
  words="${model_flags[*]} $*"
  printf '%s/%s-%s-%s.json' "$OUT" "$kind" "$name" "$(key "$TEXT_KEY" "${words//$OUT\//}")"
}

# ----- parts of the chain: each does its work, or in a plan adds up what that takes ----------------------------------

results=() # what the report is made of
planned=() # what is left to do
declare -A PLANNED_SECONDS=() STEP_SECONDS=()

# will_take TEXT SECONDS
will_take() {
  if [[ -z ${PLANNED_SECONDS[$1]:-} ]]; then planned+=("$1"); fi
  PLANNED_SECONDS[$1]=$((${PLANNED_SECONDS[$1]:-0} + $2))
}

show_plan() {
  local text all=0
  for text in "${planned[@]}"; do
    printf '  %-60s %s\n' "$text" "$(duration "${PLANNED_SECONDS[$text]}")"
    all=$((all + PLANNED_SECONDS[$text]))
  done
  echo "together $((all / 3600)) hours $((all % 3600 / 60)) minutes at the pace that this machine has now"
}

# step_seconds FLAG...: of a training step, into seconds.
step_seconds() {
  if [[ -z ${STEP_SECONDS[$*]:-} ]]; then
    "$LONGLORA" plan --model_name_or_path "$MODEL" "${memory_flags[@]}" --json "$OUT/plan.json" "$@" 2>"$OUT/plan.log" ||
      die "[plan] $(tail -n 1 "$OUT/plan.log")"
    STEP_SECONDS[$*]=$(number_in "$OUT/plan.json" seconds_per_step)
  fi
  seconds=${STEP_SECONDS[$*]}
}

# pass_seconds TOKENS: of a pass without gradients, into seconds: about a third of a training step.
pass_seconds() {
  step_seconds --model_max_length "$1" --attention full
  seconds=$(awk -v s="$seconds" 'BEGIN { print s * 0.35 }')
}

times() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.0f", a * b }'; }

# plan_training LABEL FLAG...
plan_training() {
  local label=$1 full_rows=0
  shift
  step_seconds "$@"
  if [[ $* =~ --full_attention_steps\ ([0-9]+) ]]; then full_rows=${BASH_REMATCH[1]}; fi
  will_take "train: $label" "$(times "$seconds" $((ROWS - full_rows)))"
  step_seconds --model_max_length "$WINDOW" --attention full
  will_take "train: $label" "$(times "$seconds" "$full_rows")"
}

# found FILE RESULT: whether a file is there; then the report gets the result that it stands for.
found() {
  local result
  if [[ ! -e $1 ]]; then return 1; fi
  for result in "${results[@]}"; do
    if [[ $result == "$2" ]]; then return; fi
  done
  results+=("$2")
}

train() {
  local name folder flags
  for name in "$@"; do
    folder=$(adapter "$name")
    if found "$folder/adapter_model.safetensors" "${LABEL[$name]}=$folder"; then continue; fi
    read -ra flags <<<"$COMMON ${TRAINING[$name]}"
    if [[ -n $planning ]]; then
      plan_training "${LABEL[$name]}" "${flags[@]}"
      continue
    fi
    make "Train: ${LABEL[$name]}" "$folder/adapter_model.safetensors" \
      "$LONGLORA" fine-tune --model_name_or_path "$MODEL" --data_path "$ROWS_FILE" --output_dir "$folder" \
      --label "${LABEL[$name]}" --save_steps 1 --save_total_limit 1 --resume True "${memory_flags[@]}" "${flags[@]}"
    found "$folder/adapter_model.safetensors" "${LABEL[$name]}=$folder"
  done
}

# measure KIND NAME LENGTH PASSES FLAG...: a verb at one length.
measure() {
  local kind=$1 name=$2 length=$3 passes=$4 file
  shift 4
  file=$(result "$kind" "$name" "$@")
  if found "$file" "$file"; then return; fi
  if [[ -n $planning ]]; then
    pass_seconds "$length"
    will_take "$kind: ${LABEL[$name]}" "$(times "$seconds" "$passes")"
    return
  fi
  set_model_flags "$name"
  make "$kind at $length: ${LABEL[$name]}" "$file" \
    "$LONGLORA" "$kind" --base_model "$MODEL" --context_size "$WINDOW" --dtype bfloat16 --label "${LABEL[$name]}" \
    --json "$file" "${model_flags[@]}" "$@"
  found "$file" "$file"
}

perplexity() {
  local length name
  for length in "${LENGTHS[@]}"; do
    for name in "$@"; do
      measure eval "$name" "$length" "$WINDOWS" --data_path "$DATA/heldout.bin" --window same-targets \
        --max_windows "$WINDOWS" --target_tokens "$TARGET_TOKENS" --seq_len "$length" --longest_seq_len "$WINDOW"
    done
  done
}

passkey() {
  local length name
  for length in "${KEY_LENGTHS[@]}"; do
    for name in "$@"; do
      measure passkey "$name" "$length" "$TRIALS" --lengths "$length" --num_tests "$TRIALS"
    done
  done
}

# ----- answers ----------------------------------------------------------------------------------------------------

readonly TEACHING="--model_max_length $WINDOW --packing False --gradient_accumulation_steps 8 --lora_r 16 --lora_alpha 32 --learning_rate $LEARNING_RATE --warmup_steps 5"

# The best extension learns to answer, from dialogues about training novels and a few plain questions.
answers() {
  local extension asked taught before after flags
  extension=$(adapter longlora-yarn)
  extension=${extension##*-}
  asked=$DATA/questions-$(key "$DIALOGUES $LONG_DIALOGUES $QUESTIONS $LONG_QUESTIONS" "$(content "$MAKE_QUESTIONS")")
  taught=$OUT/taught-$(key "$extension" "$TEACHING" "${asked##*-}" "$(content "$PLAIN")")
  before=$OUT/answers-before-$(key "$extension" "${asked##*-}").json
  after=$OUT/answers-after-${taught##*-}.json
  make "Questions about the novels" "$asked" make_question_files "$asked"
  if [[ -n $planning ]]; then
    plan_answers "$asked" "$before" "$taught" "$after"
    return
  fi
  read -ra flags <<<"$TEACHING"
  make "Merge the extended model" "$OUT/extended-$extension" \
    "$LONGLORA" merge --base_model "$MODEL" --peft_model "$(adapter longlora-yarn)" --save_path "$OUT/extended-$extension"
  make "Answers without teaching" "$before" answer "$OUT/extended-$extension" "$asked/heldout.jsonl" \
    "LongLoRA, not taught" "$before"
  make "Teach it to answer" "$taught/adapter_model.safetensors" \
    teach "$OUT/extended-$extension" "$taught" --data_path "$asked/train.jsonl" "$PLAIN" \
    --label "LongLoRA, taught to answer" --save_steps 5 "${memory_flags[@]}" "${flags[@]}"
  make "Answers" "$after" answer "$OUT/extended-$extension" "$asked/heldout.jsonl" "LongLoRA, taught to answer" \
    "$after" --peft_model "$taught"
  found_answers "$before" "$taught" "$after"
}

# found_answers BEFORE TAUGHT AFTER: gives the report what there is of them.
found_answers() {
  found "$1" "$1" || true
  found "$2/adapter_model.safetensors" "LongLoRA, taught to answer=$2" || true
  found "$3" "$3" || true
}

# plan_answers QUESTIONS BEFORE TAUGHT AFTER: by the size of the texts, at four bytes a token, at the pace of rows as
# long as the model's own window.
plan_answers() {
  local rows
  found_answers "$2" "$3" "$4"
  step_seconds --model_max_length "$BASE_WINDOW" --attention full
  rows=$(($(stat -c %s "$1/heldout.jsonl") / 4 / BASE_WINDOW / 3 + 1)) # a pass is a third of a training step
  if [[ ! -e $2 ]]; then will_take "answers without teaching" "$(times "$seconds" "$rows")"; fi
  if [[ ! -e $4 ]]; then will_take "answers" "$(times "$seconds" "$rows")"; fi
  rows=$(($(stat -c %s "$1/train.jsonl") / 4 / BASE_WINDOW + 1))
  if [[ ! -e $3/adapter_model.safetensors ]]; then will_take "teach it to answer" "$(times "$seconds" "$rows")"; fi
}

# ----- the chain ----------------------------------------------------------------------------------------------------

# The folder is made anew, since a report does not replace pictures that the one before it had no part in.
write_report() {
  rm -rf "$OUT/report"
  "$LONGLORA" report "${results[@]}" --title "${MODEL##*/}: from $BASE_WINDOW to $WINDOW tokens" \
    --command "scripts/real_model.sh --novels NOVELS" --output "$OUT/report/report.html" \
    --json "$OUT/report/results.json"
}

# report_now: brings the report up to date, where there is work.
report_now() {
  if [[ -z $planning ]]; then step "Report" write_report; fi
}

# What is worth most comes first.
chain() {
  perplexity base linear yarn
  report_now
  train longlora-yarn
  perplexity longlora-yarn
  train control
  perplexity control-yarn control
  report_now
  passkey base yarn longlora-yarn
  train longlora-linear
  perplexity longlora-linear
  report_now
  train no-tail plain-lora
  perplexity no-tail plain-lora
  passkey linear longlora-linear control-yarn no-tail plain-lora control
  answers
  report_now
}

make "Novels to tokens" "$DATA" make_data
make "Rows of training novels" "$ROWS_FILE" cut_rows
echo "What is left to do takes, on this machine as it is now:"
planning=1
chain
show_plan
if [[ -n $only_plan ]]; then exit; fi
planning=''
chain
sed -n '/./p' "$REPO/build/logs/report.log"
echo "The proof: $OUT/report/report.html and results.json"
