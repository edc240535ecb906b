#include "arch_file.hpp"

#include <algorithm>
#include <utility>

#include "arch/resolve.hpp"
#include "spearfish/device.h"

namespace spf::kernelgen {
namespace {

using arch::ArchRow;
using arch::Target;

constexpr int64_t kMaxMib = int64_t{1} << 30;

constexpr std::pair<const char*, uint32_t> kCpuBits[] = {
    {"SPF_CPU_AVX2", SPF_CPU_AVX2},
    {"SPF_CPU_AVX512", SPF_CPU_AVX512},
    {"SPF_CPU_AVX512_VNNI", SPF_CPU_AVX512_VNNI},
    {"SPF_CPU_AVX512_BF16", SPF_CPU_AVX512_BF16},
    {"SPF_CPU_AMX_INT8", SPF_CPU_AMX_INT8},
    {"SPF_CPU_AMX_BF16", SPF_CPU_AMX_BF16},
};

class Loader {
 public:
  Loader(ArchFile& out, std::string file, Diagnostics& diagnostics)
      : out_(out), file_(std::move(file)), diagnostics_(diagnostics) {}

  void load(const toml::table& root) {
    Reader top(root, file_, "", diagnostics_);
    top.allow({"newest_toolkit", "packages", "features", "cpu", "cuda", "hip", "device", "retired"});
    out_.table.newest_toolkit = version(top, "newest_toolkit", true);
    if (const toml::table* features = top.table("features"))
      for (const auto& [name, node] : Reader::in_order(*features)) out_.features.push_back(name);
    if (const toml::table* packages = top.table("packages")) {
      Reader list(*packages, file_, "packages", diagnostics_);
      for (const auto& [name, node] : Reader::in_order(*packages))
        out_.packages.push_back({out_.pool.add(name), out_.pool.add(list.string(name.c_str()))});
      out_.table.packages = out_.packages;
    }
    for (const toml::table* t : top.tables("cpu")) cpu(*t);
    for (const toml::table* t : top.tables("cuda")) cuda(*t);
    for (const toml::table* t : top.tables("hip")) hip(*t);
    std::ranges::stable_sort(out_.rows, {}, [](const ArchRow& r) { return r.target; });
    out_.table.rows = out_.rows;
    for (const toml::table* t : top.tables("retired")) retired(*t);
    out_.table.retired = out_.retired;
    for (const toml::table* t : top.tables("device")) device(*t);
  }

 private:
  arch::Version version(Reader& reader, const char* key, bool required) {
    if (!required && !reader.has(key)) return {};
    const std::string text = reader.string(key);
    if (const auto v = arch::parse_version(text)) return *v;
    if (reader.has(key))
      reader.complain_at(key, "\"" + std::string(key) + "\" must be a toolkit version such as \"12.8\"");
    return {};
  }

  // Features of the row named by `like`, then the row's own.
  std::vector<std::string> features(Reader& reader, const char* key, std::span<const char* const> inherited) {
    std::vector<std::string> list(inherited.begin(), inherited.end());
    for (const std::string& f : reader.strings(key)) {
      if (std::ranges::find(out_.features, f) == out_.features.end())
        reader.complain_at(key, unknown_name("feature", f, out_.features));
      else if (std::ranges::find(list, f) == list.end())
        list.push_back(f);
    }
    return list;
  }

  const ArchRow* like(Reader& reader, Target::Kind kind) {
    if (!reader.has("like")) return nullptr;
    const std::string name = reader.string("like");
    std::vector<std::string> known;
    for (const ArchRow& row : out_.rows) {
      if (row.target.kind != kind) continue;
      if (name == row.name) return &row;
      known.push_back(row.name);
    }
    reader.complain_at("like", unknown_name("an earlier row", name, known));
    return nullptr;
  }

  bool fresh(Reader& reader, const std::string& name) {
    for (const ArchRow& row : out_.rows)
      if (name == row.name) {
        reader.complain_at("name", "there are two rows of this name");
        return false;
      }
    return !name.empty();
  }

  void cpu(const toml::table& t) {
    Reader reader(t, file_, "cpu row", diagnostics_);
    reader.allow({"name", "like", "features", "bits", "flags"});
    const std::string name = reader.string("name");
    reader.relabel("cpu \"" + name + "\"");
    if (!fresh(reader, name)) return;
    // Copies: the vectors that hold the row may move below.
    const ArchRow* base = like(reader, Target::Kind::kCpu);
    ArchRow row{};
    std::vector<std::string> flags, bits;
    if (base) {
      flags.assign(base->flags.begin(), base->flags.end());
      bits = out_.cpu_bits[static_cast<size_t>(base->target.major)];
      row.cpu_features = base->cpu_features;
    }
    row.features = out_.pool.add(features(reader, "features", base ? base->features : std::span<const char* const>{}));
    for (const std::string& bit : reader.strings("bits")) {
      const auto* known = std::ranges::find_if(kCpuBits, [&](const auto& b) { return bit == b.first; });
      if (known == std::end(kCpuBits)) {
        std::vector<std::string> names;
        for (const auto& b : kCpuBits) names.push_back(b.first);
        reader.complain_at("bits", unknown_name("bit", bit, names));
        continue;
      }
      bits.push_back(bit);
      row.cpu_features |= known->second;
    }
    for (const std::string& f : reader.strings("flags")) flags.push_back(f);
    row.target = {Target::Kind::kCpu, static_cast<int16_t>(out_.cpu_bits.size()), 0};
    row.name = out_.pool.add(name);
    row.generation = "";
    row.flags = out_.pool.add(flags);
    row.has_kernels = true;
    out_.cpu_bits.push_back(bits);
    out_.rows.push_back(row);
  }

  void cuda(const toml::table& t) {
    Reader reader(t, file_, "cuda row", diagnostics_);
    reader.allow({"name", "generation", "like", "features", "family_features", "specific_features", "toolkit", "family",
                  "specific", "shared_memory_per_block", "registers_per_sm", "threads_per_sm"});
    const std::string name = reader.string("name");
    reader.relabel("cuda \"" + name + "\"");
    const auto target = arch::parse_cuda_spelling(name);
    if (!target || target->suffix != arch::Suffix::kNone || target->ptx || name.find('.') == std::string::npos) {
      reader.complain_at("name", "the name of a CUDA row must be a plain compute capability such as \"9.0\"");
      return;
    }
    if (!fresh(reader, name)) return;
    const ArchRow* base = like(reader, Target::Kind::kCuda);
    ArchRow row{};
    row.target = *target;
    row.name = out_.pool.add(name);
    row.generation = out_.pool.add(reader.string("generation", ""));
    row.features = out_.pool.add(features(reader, "features", base ? base->features : std::span<const char* const>{}));
    row.specific_features = out_.pool.add(features(reader, "specific_features", {}));
    row.toolkit = version(reader, "toolkit", true);
    row.family_toolkit = version(reader, "family", false);
    row.specific_toolkit = version(reader, "specific", false);
    row.shared_memory_per_block = reader.integer_in("shared_memory_per_block", 1, 1 << 30);
    row.registers_per_sm = static_cast<int32_t>(reader.integer_in("registers_per_sm", 1, 1 << 30));
    row.threads_per_sm = static_cast<int32_t>(reader.integer_in("threads_per_sm", 1, 1 << 30));
    row.has_kernels = true;
    // A row without code of its own kind inherits none of these.
    const bool has_suffix = row.family_toolkit.known() || row.specific_toolkit.known();
    row.family_features = out_.pool.add(features(
        reader, "family_features", base && has_suffix ? base->family_features : std::span<const char* const>{}));
    if (!row.family_features.empty() && !has_suffix)
      reader.complain("family_features are of no use in a row that has neither 'f' nor 'a' code");
    if (!row.specific_features.empty() && !row.specific_toolkit.known())
      reader.complain("specific_features are of no use in a row that has no 'a' code (key \"specific\")");
    out_.rows.push_back(row);
  }

  void hip(const toml::table& t) {
    Reader reader(t, file_, "hip row", diagnostics_);
    reader.allow({"name", "features", "kernels"});
    const std::string name = reader.string("name");
    reader.relabel("hip \"" + name + "\"");
    if (!fresh(reader, name)) return;
    ArchRow row{};
    row.target = {Target::Kind::kHip, hip_rows_++, 0};
    row.name = out_.pool.add(name);
    row.generation = "";
    row.features = out_.pool.add(features(reader, "features", {}));
    row.has_kernels = reader.boolean("kernels");
    out_.rows.push_back(row);
  }

  void retired(const toml::table& t) {
    Reader reader(t, file_, "retired row", diagnostics_);
    reader.allow({"name", "note"});
    const auto target = arch::parse_cuda_spelling(reader.string("name"));
    const std::string note = reader.string("note");
    if (!target)
      reader.complain("the name must be a compute capability such as \"7.0\"");
    else
      out_.retired.push_back({*target, out_.pool.add(note)});
  }

  void device(const toml::table& t) {
    Reader reader(t, file_, "device row", diagnostics_);
    reader.allow({"name", "capability", "multiprocessors", "l2_mib", "memory_mib"});
    Device out;
    out.name = reader.string("name");
    reader.relabel("device \"" + out.name + "\"");
    const std::string capability = reader.string("capability");
    const arch::ParsedList parsed = arch::parse_target(capability, out_.context({}));
    if (!parsed.error.empty()) return reader.complain_at("capability", parsed.error);
    out.target = parsed.targets[0];
    if (out.target.kind != Target::Kind::kCuda) return reader.complain_at("capability", "must be a CUDA row");
    out.sm_count = static_cast<int>(reader.integer_in("multiprocessors", 1, 100000));
    out.l2_bytes = reader.integer_in("l2_mib", 0, kMaxMib) * 1024 * 1024;
    out.memory_bytes = reader.integer_in("memory_mib", 0, kMaxMib) * 1024 * 1024;
    out_.devices.push_back(std::move(out));
  }

  ArchFile& out_;
  std::string file_;
  Diagnostics& diagnostics_;
  int16_t hip_rows_ = 0;
};

} // namespace

void load_arch(const std::string& text, const std::string& file, Diagnostics& diagnostics, ArchFile& out) {
  if (const auto root = parse_toml(text, file, diagnostics)) Loader(out, file, diagnostics).load(*root);
}

} // namespace spf::kernelgen
