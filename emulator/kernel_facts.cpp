// Names of kernels and their __shared__ variables, out of the symbol table of the file that holds them. A variable of a
// function _ZN..E is called _ZZN..EE<length><name>, and thread-local.
#include <cstring>
#include <fstream>
#include <map>

#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include "emulator/block.hpp"
#include "emulator/launch.hpp"

namespace spf::emulated {
namespace {

constexpr uint32_t kFirstShared = 0x400; // what the hardware keeps for itself lies before

struct Module {
  uintptr_t base = 0;
  ptrdiff_t tls_from_thread_pointer = 0;
  std::map<uintptr_t, std::string> functions; // by address in the file
  struct Variable {
    uintptr_t at;
    size_t bytes;
  };
  std::map<std::string, Variable> variables;
};

std::string readable(const std::string& mangled) {
  int status = 0;
  char* const text = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  std::string out = status == 0 ? text : mangled;
  std::free(text);
  if (out.starts_with("void ")) out.erase(0, 5);
  // Without the parameters, which say nothing: every kernel takes one struct.
  if (const size_t paren = out.rfind('('); paren != std::string::npos && out.back() == ')') out.erase(paren);
  return out;
}

struct Search {
  uintptr_t address;
  std::string file;
  Module module;
  bool found = false;
};

int visit(dl_phdr_info* info, size_t, void* data) {
  auto& search = *static_cast<Search*>(data);
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type != PT_LOAD || search.address < begin || search.address >= begin + segment.p_memsz) continue;
    search.found = true;
    search.file = info->dlpi_name[0] != 0 ? info->dlpi_name : "/proc/self/exe";
    search.module.base = info->dlpi_addr;
    if (info->dlpi_tls_data != nullptr)
      search.module.tls_from_thread_pointer =
          static_cast<char*>(info->dlpi_tls_data) - static_cast<char*>(__builtin_thread_pointer());
    return 1;
  }
  return 0;
}

void read_symbols(const std::string& file, Module& module) {
  std::ifstream in(file, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  if (bytes.size() < sizeof(Elf64_Ehdr)) return;
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  const auto section = [&](size_t i) {
    Elf64_Shdr s;
    std::memcpy(&s, bytes.data() + header.e_shoff + i * sizeof s, sizeof s);
    return s;
  };
  for (size_t i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr table = section(i);
    if (table.sh_type != SHT_SYMTAB) continue;
    const char* const names = bytes.data() + section(table.sh_link).sh_offset;
    for (size_t at = 0; at + sizeof(Elf64_Sym) <= table.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      std::memcpy(&symbol, bytes.data() + table.sh_offset + at, sizeof symbol);
      if (symbol.st_shndx == SHN_UNDEF) continue;
      const char* const name = names + symbol.st_name;
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC) module.functions.emplace(symbol.st_value, name);
      if (ELF64_ST_TYPE(symbol.st_info) == STT_TLS && std::strncmp(name, "_ZZ", 3) == 0)
        module.variables[name] = {symbol.st_value, symbol.st_size};
    }
  }
}

const Module* module_of(uintptr_t address) {
  static std::map<std::string, Module> modules;
  Search search{address, "", {}};
  dl_iterate_phdr(&visit, &search);
  if (!search.found) return nullptr;
  const auto [at, fresh] = modules.try_emplace(search.file, search.module);
  if (fresh) read_symbols(search.file, at->second);
  return &at->second;
}

KernelFacts find_facts(const void* kernel) {
  KernelFacts facts{"a kernel without a name", {}, kFirstShared};
  const auto address = reinterpret_cast<uintptr_t>(kernel);
  const Module* const module = module_of(address);
  if (module == nullptr) return facts;
  const auto function = module->functions.find(address - module->base);
  if (function == module->functions.end()) return facts;
  facts.name = readable(function->second);
  const std::string prefix = "_ZZ" + function->second.substr(2) + "E";
  for (auto v = module->variables.lower_bound(prefix); v != module->variables.end(); ++v) {
    if (!v->first.starts_with(prefix)) break;
    const size_t name = v->first.find_first_not_of("0123456789", prefix.size());
    facts.shared_end = (facts.shared_end + 127) & ~127u;
    facts.shared.push_back({v->first.substr(name == std::string::npos ? prefix.size() : name),
                            module->tls_from_thread_pointer + static_cast<ptrdiff_t>(v->second.at), v->second.bytes,
                            facts.shared_end});
    facts.shared_end += static_cast<uint32_t>(v->second.bytes);
  }
  return facts;
}

} // namespace

const KernelFacts& kernel_facts(const void* kernel) {
  static std::mutex mutex;
  static std::map<const void*, KernelFacts> known;
  const std::lock_guard lock(mutex);
  const auto at = known.find(kernel);
  return at != known.end() ? at->second : known.emplace(kernel, find_facts(kernel)).first->second;
}

size_t shared_variable_bytes(const void* kernel) { return kernel_facts(kernel).shared_end - kFirstShared; }

} // namespace spf::emulated
