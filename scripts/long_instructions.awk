# Makes questions about long texts, for `longlora sft` and `longlora answer`, out of novels:
#
#   awk -v count=900 -v seed=1 -v max_words=2000 -f scripts/long_instructions.awk NOVEL... > questions.jsonl
#
# Every line is a JSON object of task, instruction (a stretch of a novel with something planted in it, then
# the question) and output (the answer). Tasks, in turn:
#
#   retrieve   numbers of some people stand in the text; the question is about one of them
#   copy       one sentence of the text is marked; it is the answer
#   order      two things come on; which came first?
#
# With -v dialogues=1 a line is a dialogue (messages) about one stretch, with questions of every task.
#
# What is printed is a function of the texts and the seed. Stretches have min_words to max_words words, the
# logarithm of their length uniform. What stands between <s> and </s> in a text is left out, and so are sentences
# with digits: only planted numbers are to be found.

BEGIN {
  split("Arthur Edith Harold Clara Walter Louisa Hugh Margaret Simon Judith Philip Agnes Ralph Helen Oliver " \
        "Lydia Martin Flora Edmund Sarah Gilbert Rose Stephen Hetty Roger Ellen Francis Dinah Robert Laura Mark " \
        "Grace", names, " ")
  split("house room ticket box letter coach horse bank garden street book case trunk cabin watch chest church " \
        "drawer", things, " ")
  num_names = 32; num_things = 18; num_sentences = 0
  if (!count) count = 300
  if (!min_words) min_words = 40
  if (!max_words) max_words = 2000
  if (!seed) seed = 1
  state = (seed * 7919 + 12345) % 2147483647
  for (i = 0; i < 10; ++i) uniform()
}

# Park and Miller's generator: exact in doubles, so every awk draws the same.
function uniform() {
  state = (state * 16807) % 2147483647
  return state / 2147483647
}
function below(n) { return int(uniform() * n) }

# Sentences of the paragraphs (one a line), over all files.
{
  line = $0
  while (line != "") {
    if (inside) {
      if (!(place = index(line, "</s>"))) break
      line = substr(line, place + 4)
      inside = 0
      continue
    }
    place = index(line, "<s>")
    cut_sentences(place ? substr(line, 1, place - 1) : line)
    line = place ? substr(line, place + 3) : ""
    inside = place > 0
  }
}

function cut_sentences(line,  head, part) {
  head = ""
  while (match(line, /[.!?]["')]* +/)) {
    part = substr(line, 1, RSTART + RLENGTH - 1)
    line = substr(line, RSTART + RLENGTH)
    head = head part
    if (part ~ /(^|[^A-Za-z])(Mr|Mrs|Dr|St|[A-Z])[.] *$/) continue
    add_sentence(head)
    head = ""
  }
  add_sentence(head line)
}

function add_sentence(text,  words) {
  gsub(/[ \t\r]+/, " ", text); sub(/^ /, "", text); sub(/ $/, "", text)
  if (text == "" || text ~ /[0-9<>*\\]/ || text ~ /pass key|grass is green|There and back again/) return
  sentences[num_sentences] = text
  lengths[num_sentences++] = split(text, words, " ")
}

# A stretch of the novels: parts[0 .. num_parts - 1] are its sentences.
function take_stretch(  wanted, at, taken) {
  wanted = exp(log(min_words) + uniform() * (log(max_words) - log(min_words)))
  at = below(num_sentences)
  num_parts = taken = 0
  while (taken < wanted) {
    if (num_parts > 0 && taken + lengths[at] > max_words) break
    taken += lengths[at]
    source[num_parts] = at
    parts[num_parts++] = sentences[at]
    at = (at + 1) % num_sentences
  }
}

# Puts a sentence before part `place`.
function plant(text, place,  i) {
  for (i = num_parts; i > place; --i) parts[i] = parts[i - 1]
  parts[place] = text
  ++num_parts
}

function stretch_text(  text, i) {
  text = parts[0]
  for (i = 1; i < num_parts; ++i) text = text " " parts[i]
  return text
}

# `count` different numbers below n: chosen[0 .. count - 1].
function choose(count, n,  i, draw, seen) {
  split("", seen)
  for (i = 0; i < count;) {
    draw = below(n)
    if (draw in seen) continue
    seen[draw] = 1
    chosen[i++] = draw
  }
}

# Plants one to three numbers; ask_number() asks for the one of them.
function retrieve(  i) {
  num_facts = 1 + below(3)
  choose(num_facts, num_names)
  for (i = 0; i < num_facts; ++i) {
    owner[i] = names[chosen[i] + 1]
    value[i] = 10000 + below(90000)
    plant("The number of " owner[i] " is " value[i] ".", below(num_parts + 1))
  }
}

function ask_number(i) {
  question = "What is the number of " owner[i] "?"
  answer = "The number of " owner[i] " is " value[i] "."
}

function copy(  tries, place) {
  for (tries = 0; tries < 50; ++tries) {
    place = below(num_parts)
    if (lengths[source[place]] >= 4 && lengths[source[place]] <= 12) break
  }
  if (tries == 50) return 0
  answer = parts[place]
  parts[place] = "*** " answer " ***"
  question = "Copy the sentence between the stars."
  return 1
}

function order(  first, second, low, high, swap) {
  choose(2, num_things)
  first = things[chosen[0] + 1]; second = things[chosen[1] + 1]
  low = below(num_parts + 1); high = below(num_parts + 1)
  if (low > high) { swap = low; low = high; high = swap }
  plant("Now comes the " second ".", high)
  plant("Now comes the " first ".", low)
  question = "Which came first, the " (below(2) ? first " or the " second : second " or the " first) "?"
  answer = "the " first
}

function json_text(text) {
  gsub(/"/, "\\\"", text); gsub(/\n/, "\\n", text)
  return "\"" text "\""
}

function sample(task,  done) {
  do {
    take_stretch()
    done = 1
    if (task == "copy") done = copy()
    else if (task == "order") order()
    else { retrieve(); ask_number(below(num_facts)) }
  } while (!done)
  printf "{\"task\": \"%s\", \"instruction\": %s, \"output\": %s}\n", task, json_text(stretch_text() "\n" question),
         json_text(answer)
}

function message(role, text) { return "{\"role\": \"" role "\", \"content\": " json_text(text) "}" }

function remember() { questions[num_questions] = question; answers[num_questions++] = answer }

function dialogue(  i, at, first, text, line) {
  do take_stretch()
  while (!copy())  # first of all: it marks a sentence of the novel
  num_questions = 0
  remember()
  retrieve()
  for (i = 0; i < num_facts; ++i) { ask_number(i); remember() }
  order()
  remember()
  first = below(num_questions)
  text = stretch_text() "\n"
  for (i = 0; i < num_questions; ++i) {
    at = (first + i) % num_questions
    line = line (i > 0 ? ", " : "") message("user", text questions[at]) ", " message("assistant", answers[at])
    text = ""
  }
  print "{\"messages\": [" line "]}"
}

END {
  if (num_sentences < 100) {
    print "[long_instructions] expected novels of at least 100 sentences, got " num_sentences + 0 > "/dev/stderr"
    exit 3
  }
  split("copy retrieve order", tasks, " ")
  for (i = 0; i < count; ++i) {
    if (dialogues) dialogue()
    else sample(tasks[i % 3 + 1])
  }
}
