// A test kit in one page: TEST(what_it_says) { CHECK(...); }
//
// Works with and without exceptions: a failed CHECK ends the program.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

namespace check {

struct test {
  const char* name;
  void (*run)();
};

inline std::vector<test>& all() {
  static std::vector<test> tests;
  return tests;
}

struct enrol {
  enrol(const char* name, void (*run)()) { all().push_back({name, run}); }
};

[[noreturn]] inline void fail(const char* file, int line, const char* what) {
  std::fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
  std::exit(1);
}

constexpr std::chrono::seconds patience(10);

/// Counts, and lets a test wait for a count.
class counter {
 public:
  void add() {
    const std::lock_guard<std::mutex> held(lock_);
    ++count_;
    changed_.notify_all();
  }
  int now() {
    const std::lock_guard<std::mutex> held(lock_);
    return count_;
  }
  bool reaches(int count) {
    std::unique_lock<std::mutex> held(lock_);
    return changed_.wait_for(held, patience, [&] { return count_ >= count; });
  }

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  int count_ = 0;
};

inline int run_all() {
  for (const test& one : all()) {
    std::printf("%s\n", one.name);
    std::fflush(stdout);
    one.run();
  }
  if (all().empty()) std::fprintf(stderr, "no tests\n");
  return all().empty() ? 1 : 0;
}

}  // namespace check

#define CHECK(...) \
  ((__VA_ARGS__) ? void() : check::fail(__FILE__, __LINE__, #__VA_ARGS__))

#define TEST(name)                                   \
  static void name();                                \
  static const check::enrol enrol_##name(#name, name); \
  static void name()
