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
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace gwlb::test {

using Function = void (*)();

struct Registration {
  Registration(const char* file, const char* name, Function function);
};

void report_failure(const char* file, int line, std::string_view message);
void report_skip(const char* reason);

// What is compared is handed to functions that are compiled once: tests have thousands of checks,
// and what stands in each of them is most of what a sanitizer's build takes.

// As mathematics has it: a negative number equals no unsigned one.
struct Number {
  uint64_t bits;
  bool negative;
};

template <class T>
constexpr Number number_of(T value) {
  if constexpr (std::is_enum_v<T>) {
    return number_of(static_cast<std::underlying_type_t<T>>(value));
  } else if constexpr (std::is_signed_v<T>) {
    return {static_cast<uint64_t>(static_cast<int64_t>(value)), value < 0};
  } else {
    return {static_cast<uint64_t>(value), false};
  }
}

// The words of a comparison, and where it stands.
struct Comparison {
  const char* file;
  int line;
  const char* a;
  const char* b;
};

void check_numbers(const Comparison& comparison, Number a, Number b);
void check_texts(const Comparison& comparison, std::string_view a, std::string_view b);
void report_unequal(const Comparison& comparison, const std::string& a, const std::string& b);
std::string show_bool(bool value);
std::string show_number(Number value);
std::string show_real(double value);
std::string show_text(std::string_view value);
std::string show_address(const void* value);
std::string show_size(size_t bytes);

template <class T>
inline constexpr bool kIsNumber =
    (std::is_integral_v<T> && !std::is_same_v<T, bool>) || std::is_enum_v<T>;

template <class T>
inline constexpr bool kIsText = std::is_convertible_v<T, std::string_view>;

template <class T>
std::string show(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return show_bool(value);
  } else if constexpr (kIsNumber<T>) {
    return show_number(number_of(value));
  } else if constexpr (std::is_floating_point_v<T>) {
    return show_real(value);
  } else if constexpr (kIsText<T>) {
    return show_text(value);
  } else if constexpr (std::is_pointer_v<T>) {
    return show_address(value);
  } else {
    return show_size(sizeof value);
  }
}

template <class A, class B>
void check_equal(const Comparison& comparison, const A& a, const B& b) {
  if constexpr (kIsNumber<A> && kIsNumber<B> && (std::is_enum_v<A> == std::is_enum_v<B>)) {
    static_assert(!std::is_enum_v<A> || std::is_same_v<A, B>, "two enumerations are no numbers");
    check_numbers(comparison, number_of(a), number_of(b));
  } else if constexpr (kIsText<A> && kIsText<B>) {
    check_texts(comparison, a, b);
  } else if (!(a == b)) {
    report_unequal(comparison, show(a), show(b));
  }
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

#define CHECK_EQ(a, b) ::gwlb::test::check_equal({__FILE__, __LINE__, #a, #b}, (a), (b))

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
