// Memory faults of kernels, turned into errors of their launch.
#include <csignal>
#include <cstdio>

#include <sys/mman.h>
#include <ucontext.h>

#include "emulator/block.hpp"

namespace spf::emulated {
namespace {

struct sigaction previous_segv, previous_bus, previous_usr2;

thread_local constinit uintptr_t fault_at = 0;
thread_local constinit const char* fault_kind = "";
thread_local constinit char* spare_stack = nullptr; // its top

[[noreturn]] void after_fault() {
  fault(fault_kind[0] == 'r' && fault_kind[1] == 'u' ? std::string(fault_kind)
                                                     : std::string(fault_kind) + describe_address(fault_at));
}

void on_signal(int signal, siginfo_t* info, void* raw) {
  auto* const context = static_cast<ucontext_t*>(raw);
  if (current == nullptr) {
    if (signal == SIGUSR2) return;
    // Not a kernel's: whoever was here before is asked again.
    sigaction(SIGSEGV, &previous_segv, nullptr);
    sigaction(SIGBUS, &previous_bus, nullptr);
    return;
  }
  auto& registers = context->uc_mcontext.gregs;
  uintptr_t stack = static_cast<uintptr_t>(registers[REG_RSP]);
  fault_at = reinterpret_cast<uintptr_t>(info->si_addr);
  if (signal == SIGUSR2) {
    fault_kind = "runs, and waits for nobody";
  } else if (Stacks::is_guard(current->stack, fault_at)) {
    fault_kind = "runs out of its stack of local variables";
    stack = reinterpret_cast<uintptr_t>(spare_stack);
  } else {
    // Bit 1 of the page fault's error code.
    fault_kind = (registers[REG_ERR] & 2) != 0 ? "write to " : "read from ";
  }
  // Goes on in after_fault(), below whatever the interrupted function keeps under its stack pointer.
  stack = (stack - 4096) / 64 * 64 - 8;
  registers[REG_RSP] = static_cast<greg_t>(stack);
  registers[REG_RIP] = reinterpret_cast<greg_t>(&after_fault);
}

} // namespace

void use_signal_stack() {
  constexpr size_t kBytes = 64 * 1024;
  auto* const memory = static_cast<char*>(
      mmap(nullptr, 2 * kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (memory == MAP_FAILED) return;
  spare_stack = memory + 2 * kBytes;
  stack_t stack = {};
  stack.ss_sp = memory;
  stack.ss_size = kBytes;
  sigaltstack(&stack, nullptr);
}

void install_fault_handlers() {
  struct sigaction action = {};
  action.sa_sigaction = &on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &action, &previous_segv);
  sigaction(SIGBUS, &action, &previous_bus);
  sigaction(SIGUSR2, &action, &previous_usr2);
}

void remove_fault_handlers() {
  sigaction(SIGSEGV, &previous_segv, nullptr);
  sigaction(SIGBUS, &previous_bus, nullptr);
  sigaction(SIGUSR2, &previous_usr2, nullptr);
}

} // namespace spf::emulated
