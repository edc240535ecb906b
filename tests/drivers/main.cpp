// test_drivers [--device=cpu|cuda:N] [--quick] [gtest flags]: one test per driver and op, named Driver/op. Exits with
// 77 where there is no such device, which CTest reports as skipped.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>

#include <gtest/gtest.h>
#include <unistd.h>

#include "device.hpp"
#include "driver.hpp"

namespace spf::drivers {
namespace {

std::unique_ptr<check::Memory> opened;
bool is_quick = false;
constexpr int kSkipped = 77;

class DriverTest : public testing::Test {
 public:
  explicit DriverTest(std::function<void(Findings&)> run) : run_(std::move(run)) {}

  void TestBody() override {
    Findings findings;
    run_(findings);
    for (const std::string& why : findings.skipped) std::printf("    refused: %s\n", why.c_str());
    if (findings.checks == 0) GTEST_SKIP() << "nothing runs here";
    EXPECT_TRUE(findings.wrong.empty()) << findings.text();
  }

 private:
  std::function<void(Findings&)> run_;
};

void register_test(const char* driver, const char* name, const std::function<void(Findings&)>& run) {
  testing::RegisterTest(driver, name, nullptr, nullptr, __FILE__, __LINE__,
                        [run]() -> DriverTest* { return new DriverTest(run); });
}

void register_tests() {
  for (const Driver& driver : kDrivers) {
    if (driver.needs_streams && !device().has_streams()) continue;
    for (const Op& op : check::ops())
      register_test(driver.name, op.name.c_str(),
                    [&driver, &op](Findings& findings) { driver.run({device()}, op, findings); });
    if (driver.run == conformance && !quick()) register_test(driver.name, "every_instance", every_instance_is_reached);
  }
}

// A kernel that touches a guard page ends the process; the test that did it is the last one in the output.
void on_fault(int) {
  constexpr char kText[] = "\nThe running test touched memory that is not its operands'.\n";
  (void)!write(STDERR_FILENO, kText, sizeof kText - 1);
  std::signal(SIGSEGV, SIG_DFL);
  std::raise(SIGSEGV);
}

} // namespace

check::Memory& device() { return *opened; }
bool quick() { return is_quick; }

int run(const std::string& name, bool only_quick) {
  is_quick = only_quick;
  try {
    opened = check::open_device(name);
  } catch (const check::NoDevice& e) {
    std::printf("skipped: %s\n", e.what());
    return kSkipped;
  }
  std::signal(SIGSEGV, on_fault);
  register_tests();
  const int result = RUN_ALL_TESTS();
  if (testing::UnitTest::GetInstance()->test_to_run_count() > 0) return result;
  std::printf("no test matches the filter\n");
  return 1;
}

} // namespace spf::drivers

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  std::string name = "cpu";
  bool quick = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--device=", 9) == 0) name = argv[i] + 9;
    quick = quick || std::strcmp(argv[i], "--quick") == 0;
  }
  return spf::drivers::run(name, quick);
}
