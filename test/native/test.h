// The native test harness: no dependency, no exceptions.
//
//   TEST(option_walk_stops_at_the_end) {
//     REQUIRE(walk.next(&option));        // returns from the test when false
//     CHECK_EQ(option.type, 3);           // reports both values, goes on
//     CHECK(!walk.next(&option));
//   }
//
// A test's full name is "<file without _test.cc>.<name>"; main.cc runs those that contain one of
// its arguments. CHECK may be used in threads a test starts; REQUIRE and SKIP only in the test
// itself.
#pragma once

#include <cstdint>
#include <cstring>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace gwlb::test {

using Function = void (*)();

struct Registration {
  Registration(const char* file, const char* name, Function function);
};

void report_failure(const char* file, int line, const std::string& message);
void report_skip(const char* reason);

template <class T>
inline constexpr bool kIsNumber = std::is_integral_v<T> && !std::is_same_v<T, bool>;

template <class A, class B>
bool equal(const A& a, const B& b) {
  if constexpr (kIsNumber<A> && kIsNumber<B>) {
    // As mathematics has it: a negative number equals no unsigned one.
    if constexpr (std::is_signed_v<A> != std::is_signed_v<B>) {
      if constexpr (std::is_signed_v<A>) {
        return a >= 0 && static_cast<uint64_t>(a) == static_cast<uint64_t>(b);
      } else {
        return b >= 0 && static_cast<uint64_t>(a) == static_cast<uint64_t>(b);
      }
    } else {
      return a == b;
    }
  } else if constexpr (std::is_convertible_v<A, std::string_view> &&
                       std::is_convertible_v<B, std::string_view>) {
    return std::string_view(a) == std::string_view(b);
  } else {
    return a == b;
  }
}

template <class T>
std::string show(const T& value) {
  std::ostringstream out;
  if constexpr (std::is_same_v<T, bool>) {
    out << (value ? "true" : "false");
  } else if constexpr (std::is_enum_v<T>) {
    out << "enum " << +static_cast<std::underlying_type_t<T>>(value);
  } else if constexpr (kIsNumber<T>) {
    out << +value << " (0x" << std::hex << +value << ")";
  } else if constexpr (std::is_convertible_v<T, std::string_view>) {
    out << '"' << std::string_view(value) << '"';
  } else if constexpr (std::is_pointer_v<T>) {
    out << static_cast<const void*>(value);
  } else if constexpr (requires { out << value; }) {
    out << value;
  } else {
    out << "(a value of " << sizeof value << " bytes)";
  }
  return out.str();
}

template <class A, class B>
void check_equal(const char* file, int line, const char* text_a, const char* text_b, const A& a,
                 const B& b) {
  if (equal(a, b)) return;
  report_failure(
      file, line,
      std::string("CHECK_EQ(") + text_a + ", " + text_b + "): " + show(a) + " != " + show(b));
}

}  // namespace gwlb::test

#define TEST(name)                                                                    \
  static void gwlb_test_##name();                                                     \
  static const ::gwlb::test::Registration gwlb_registration_##name(__FILE__, #name,   \
                                                                   gwlb_test_##name); \
  static void gwlb_test_##name()

#define CHECK(...)                                                                        \
  do {                                                                                    \
    if (!(__VA_ARGS__)) {                                                                 \
      ::gwlb::test::report_failure(__FILE__, __LINE__, "CHECK(" #__VA_ARGS__ "): false"); \
    }                                                                                     \
  } while (0)

#define CHECK_EQ(a, b) ::gwlb::test::check_equal(__FILE__, __LINE__, #a, #b, (a), (b))

#define REQUIRE(...)                                                                        \
  do {                                                                                      \
    if (!(__VA_ARGS__)) {                                                                   \
      ::gwlb::test::report_failure(__FILE__, __LINE__, "REQUIRE(" #__VA_ARGS__ "): false"); \
      return;                                                                               \
    }                                                                                       \
  } while (0)

// Ends the test as skipped (neither passed nor failed), with the reason printed.
#define SKIP(reason)                   \
  do {                                 \
    ::gwlb::test::report_skip(reason); \
    return;                            \
  } while (0)
