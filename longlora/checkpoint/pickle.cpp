#include "longlora/checkpoint/pickle.h"

#include <fmt/core.h>

#include <bit>
#include <unordered_map>

#include "longlora/checkpoint/bytes.h"
#include "longlora/checkpoint/pickle_globals.h"

namespace longlora::checkpoint {
namespace {

using internal::add_value;

constexpr PickleRef kNoneRef = 0, kTrueRef = 1, kFalseRef = 2;

// Opcodes of Python's pickle module, protocols 2 to 5.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobalName = 'c',
  kDict = 'd',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kList = 'l',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kEmptyDict = '}',
  kEmptyList = ']',
  kEmptyTuple = ')',
  kProto = 0x80,
  kNewObj = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  kByteArray8 = 0x96,
};

class Machine {
 public:
  Machine(std::string_view bytes, const std::string& source) : bytes_(bytes), source_(source) {}

  Pickle run() {
    push_new(PickleKind::kNone);
    push_new(PickleKind::kBool, 1);
    push_new(PickleKind::kBool, 0);
    stack_.clear();
    while (true) {
      const auto opcode = take_number<uint8_t>();
      if (opcode == kStop) break;
      if (!run_container(opcode) && !run_scalar(opcode) && !run_object(opcode) && !run_memo(opcode))
        fail("opcodes of pickle protocol 2 to 5", fmt::format("the byte 0x{:02x}", opcode));
    }
    pickle_.root = pop();
    pickle_.num_bytes = position_;
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void fail(const std::string& expected, const std::string& got) const {
    internal::fail_pickle(source_, expected, fmt::format("{} at byte {} of a pickle", got, position_));
  }

  // -- bytes ---------------------------------------------------------------------------------------------
  std::string_view take(uint64_t num_bytes) {
    if (num_bytes > bytes_.size() - position_)
      fail(fmt::format("{} further bytes", num_bytes),
           fmt::format("{}; the file is truncated or damaged", bytes_.size() - position_));
    const std::string_view taken = bytes_.substr(position_, num_bytes);
    position_ += num_bytes;
    return taken;
  }
  template <typename Number>
  Number take_number() {
    return read_number<Number>(take(sizeof(Number)), 0);
  }
  std::string_view take_line() {
    const size_t end = bytes_.find('\n', position_);
    if (end == std::string_view::npos) fail("a name that ends with its line", "none; the file is truncated");
    const std::string_view line = take(end - position_);
    position_ += 1;
    return line;
  }

  // -- stack ---------------------------------------------------------------------------------------------
  void push(PickleRef ref) { stack_.push_back(ref); }
  void push_value(PickleValue value) { push(add_value(pickle_, std::move(value), source_)); }
  void push_new(PickleKind kind, int64_t integer = 0) {
    PickleValue value;
    value.kind = kind;
    value.integer = integer;
    push_value(std::move(value));
  }
  void push_text(PickleKind kind, std::string_view text) {
    PickleValue value;
    value.kind = kind;
    value.text = text;
    push_value(std::move(value));
  }
  void push_container(PickleKind kind, std::vector<PickleRef> items) {
    PickleValue value;
    value.kind = kind;
    value.items = std::move(items);
    push_value(std::move(value));
  }
  // The height of the stack at the last mark. Values below it belong to what is built around the mark.
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleRef top() const {
    if (stack_.size() <= floor()) fail("a value", "an empty stack");
    return stack_.back();
  }
  PickleRef pop() {
    const PickleRef ref = top();
    stack_.pop_back();
    return ref;
  }
  std::vector<PickleRef> pop_last(size_t count) {
    if (stack_.size() - floor() < count) fail(fmt::format("{} values", count), "fewer");
    std::vector<PickleRef> items(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return items;
  }
  std::vector<PickleRef> pop_to_mark() {
    if (marks_.empty()) fail("a mark", "none");
    std::vector<PickleRef> items = pop_last(stack_.size() - marks_.back());
    marks_.pop_back();
    return items;
  }
  PickleValue& container(PickleKind kind, const char* expected) {
    PickleValue& value = pickle_.values[top()];
    if (value.kind != kind) fail(expected, "another value");
    return value;
  }
  void append_to(PickleKind kind, const char* expected, const std::vector<PickleRef>& items) {
    PickleValue& value = container(kind, expected);
    if (kind == PickleKind::kDict && items.size() % 2 != 0) fail("keys with values", "a key without one");
    value.items.insert(value.items.end(), items.begin(), items.end());
  }

  // -- opcodes -------------------------------------------------------------------------------------------
  bool run_scalar(uint8_t opcode) {
    switch (opcode) {
      case kNone:
        push(kNoneRef);
        return true;
      case kNewTrue:
        push(kTrueRef);
        return true;
      case kNewFalse:
        push(kFalseRef);
        return true;
      case kBinInt:
        push_new(PickleKind::kInt, take_number<int32_t>());
        return true;
      case kBinInt1:
        push_new(PickleKind::kInt, take_number<uint8_t>());
        return true;
      case kBinInt2:
        push_new(PickleKind::kInt, take_number<uint16_t>());
        return true;
      case kLong1:
        push_long(take(take_number<uint8_t>()));
        return true;
      case kLong4:
        push_long(take(take_length<int32_t>()));
        return true;
      case kBinFloat:
        push_float(take(8));
        return true;
      default:
        return run_text(opcode);
    }
  }

  bool run_text(uint8_t opcode) {
    switch (opcode) {
      case kShortBinUnicode:
      case kShortBinString:
        push_text(PickleKind::kText, take(take_number<uint8_t>()));
        return true;
      case kBinString:
        push_text(PickleKind::kText, take(take_length<int32_t>()));
        return true;
      case kBinUnicode:
        push_text(PickleKind::kText, take(take_number<uint32_t>()));
        return true;
      case kBinUnicode8:
        push_text(PickleKind::kText, take(take_number<uint64_t>()));
        return true;
      case kShortBinBytes:
        push_text(PickleKind::kBytes, take(take_number<uint8_t>()));
        return true;
      case kBinBytes:
        push_text(PickleKind::kBytes, take(take_number<uint32_t>()));
        return true;
      case kBinBytes8:
      case kByteArray8:
        push_text(PickleKind::kBytes, take(take_number<uint64_t>()));
        return true;
      default:
        return false;
    }
  }

  template <typename Number>
  uint64_t take_length() {
    const Number length = take_number<Number>();
    if (length < 0) fail("a length", std::to_string(length));
    return static_cast<uint64_t>(length);
  }

  // Pushes a whole number in two's complement, little-endian and as short as it can be.
  void push_long(std::string_view digits) {
    if (digits.size() > 8) return push_text(PickleKind::kBigInt, digits);
    uint64_t value = 0;
    for (size_t i = 0; i < digits.size(); ++i)
      value |= static_cast<uint64_t>(static_cast<uint8_t>(digits[i])) << (8 * i);
    if (!digits.empty() && digits.size() < 8 && (digits.back() & 0x80) != 0)
      value |= ~uint64_t{0} << (8 * digits.size());
    push_new(PickleKind::kInt, static_cast<int64_t>(value));
  }

  void push_float(std::string_view digits) {  // big-endian
    uint64_t bits = 0;
    for (const char digit : digits) bits = bits << 8 | static_cast<uint8_t>(digit);
    PickleValue value;
    value.kind = PickleKind::kFloat;
    value.number = std::bit_cast<double>(bits);
    push_value(std::move(value));
  }

  bool run_container(uint8_t opcode) {
    switch (opcode) {
      case kMark:
        marks_.push_back(stack_.size());
        return true;
      case kPop:
        if (!marks_.empty() && marks_.back() == stack_.size())
          marks_.pop_back();
        else
          pop();
        return true;
      case kPopMark:
        pop_to_mark();
        return true;
      case kDup:
        push(top());
        return true;
      case kEmptyDict:
        push_new(PickleKind::kDict);
        return true;
      case kEmptyList:
        push_new(PickleKind::kList);
        return true;
      case kEmptyTuple:
        push_new(PickleKind::kTuple);
        return true;
      case kEmptySet:
        push_new(PickleKind::kSet);
        return true;
      case kTuple1:
      case kTuple2:
      case kTuple3:
        push_container(PickleKind::kTuple, pop_last(static_cast<size_t>(opcode - kTuple1) + 1));
        return true;
      default:
        return run_marked(opcode) || run_append(opcode);
    }
  }

  // Runs an opcode that builds its value from everything since the mark.
  bool run_marked(uint8_t opcode) {
    switch (opcode) {
      case kTuple:
        push_container(PickleKind::kTuple, pop_to_mark());
        return true;
      case kList:
        push_container(PickleKind::kList, pop_to_mark());
        return true;
      case kFrozenSet:
        push_container(PickleKind::kSet, pop_to_mark());
        return true;
      case kDict: {
        const std::vector<PickleRef> items = pop_to_mark();
        push_new(PickleKind::kDict);
        append_to(PickleKind::kDict, "a dict", items);
        return true;
      }
      default:
        return false;
    }
  }

  bool run_append(uint8_t opcode) {
    switch (opcode) {
      case kAppend:
        append_last(PickleKind::kList, "a list", 1);
        return true;
      case kSetItem:
        append_last(PickleKind::kDict, "a dict", 2);
        return true;
      case kAppends:
        append_marked(PickleKind::kList, "a list");
        return true;
      case kSetItems:
        append_marked(PickleKind::kDict, "a dict");
        return true;
      case kAddItems:
        append_marked(PickleKind::kSet, "a set");
        return true;
      default:
        return false;
    }
  }
  void append_last(PickleKind kind, const char* expected, size_t count) {
    const std::vector<PickleRef> items = pop_last(count);
    append_to(kind, expected, items);
  }
  void append_marked(PickleKind kind, const char* expected) {
    const std::vector<PickleRef> items = pop_to_mark();
    append_to(kind, expected, items);
  }

  bool run_object(uint8_t opcode) {
    switch (opcode) {
      case kProto:
        if (const auto protocol = take_number<uint8_t>(); protocol < 2 || protocol > 5)
          fail("pickle protocol 2 to 5", std::to_string(protocol));
        return true;
      case kFrame:
        take_number<uint64_t>();
        return true;
      case kGlobalName: {
        const std::string_view module = take_line();
        push_value(internal::find_global(module, take_line(), source_));
        return true;
      }
      case kStackGlobal: {
        const std::vector<PickleRef> names = pop_last(2);
        const PickleValue &module = pickle_.value(names[0]), &name = pickle_.value(names[1]);
        if (module.kind != PickleKind::kText || name.kind != PickleKind::kText)
          fail("the name of a global", "another value");
        push_value(internal::find_global(module.text, name.text, source_));
        return true;
      }
      case kReduce:
      case kNewObj: {
        const std::vector<PickleRef> call = pop_last(2);
        push(internal::call_global(pickle_, call[0], call[1], source_));
        return true;
      }
      case kBinPersId:
        push(internal::load_persistent(pickle_, pop(), source_));
        return true;
      case kBuild:
        // The attributes of an OrderedDict (state_dict()._metadata) are no tensors.
        pop();
        container(PickleKind::kDict, "attributes of an OrderedDict alone");
        return true;
      default:
        return false;
    }
  }

  bool run_memo(uint8_t opcode) {
    switch (opcode) {
      case kBinPut:
        memo_[take_number<uint8_t>()] = top();
        return true;
      case kLongBinPut:
        memo_[take_number<uint32_t>()] = top();
        return true;
      case kMemoize:
        memo_[static_cast<uint32_t>(memo_.size())] = top();
        return true;
      case kBinGet:
        push(recall(take_number<uint8_t>()));
        return true;
      case kLongBinGet:
        push(recall(take_number<uint32_t>()));
        return true;
      default:
        return false;
    }
  }
  PickleRef recall(uint32_t index) const {
    const auto found = memo_.find(index);
    if (found == memo_.end()) fail("a value kept before", fmt::format("number {}, which is none", index));
    return found->second;
  }

  std::string_view bytes_;
  const std::string& source_;
  size_t position_ = 0;
  Pickle pickle_;
  std::vector<PickleRef> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, PickleRef> memo_;
};

}  // namespace

Pickle read_pickle(std::string_view bytes, const std::string& source) {
  return Machine(bytes, source).run();
}

}  // namespace longlora::checkpoint
