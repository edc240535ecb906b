// kernelgen: manifests + arch table + requested targets -> instances, dispatch table, compiler flags, coverage.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "arch/parse.hpp"
#include "arch/suggest.hpp"
#include "build.hpp"
#include "emit.hpp"
#include "output.hpp"

namespace spf::kernelgen {
namespace {

constexpr const char* kHelp =
    R"(kernelgen: writes everything that follows from kernels/*/kernels.toml and arch/arch.toml.

usage: kernelgen [--archs LIST] [--toolkit VER] [--packages LIST] [--share] [--family F] [--out DIR] [--explain] [--json]

  --archs LIST      targets, separated by ';', ',' or blanks, in any spelling: 9.0a, 90a, sm_90a, 12.0f, 8.0+PTX, 90-real,
                    90-virtual, hopper, native, all, all-major. Default: none, which leaves the CPU
  --toolkit VER     CUDA toolkit that will compile, e.g. 13.0. Needed with CUDA targets
  --packages LIST   headers of others that kernels may be compiled with and that are there, e.g. cutlass. Default: all
  --share           one machine code for the capabilities of a major whose features do not differ: 8.0's serves 8.6
  --family F        this family alone
  --out DIR         folder to write: table.cpp, units/, targets.cmake, coverage.json, coverage.txt, kernels.md, tests.txt,
                    devices.inc, archs. Unchanged files keep their time stamps, stale ones are removed. Default: write nothing
  --explain         also print every answer with its reason, and every translation unit with its estimated seconds
  --json            print the coverage as JSON instead of a table
  --root DIR        the source tree. Default: the current folder
  --arch-file FILE  instead of ROOT/arch/arch.toml
  --extra FILE      a further kernels.toml; its files stand beside it. May be given several times
  --instances N     at most N instances of each CUDA kernel, spread over its axes; the others are not in the build. Default: all
  --unit-seconds S  aim of one translation unit in seconds on one core. Default: 20
  --help            this text

examples:
  kernelgen --archs "8.0;8.9;9.0a;12.0f" --toolkit 13.0 --family linear --out build/gen --explain
  kernelgen --archs all --toolkit 12.8 --json
  kernelgen --archs native --toolkit 13.0 --explain

exit status: 0 good, 1 the manifests or the request are wrong (each complaint names file, line and row), 2 bad usage
)";

struct Options {
  std::string archs, toolkit, family, out, root = ".", arch_file;
  std::optional<std::string> packages;
  std::vector<std::string> extra;
  double unit_seconds = 20;
  int instances = 0;
  bool explain = false, json = false, help = false, share = false;
};

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

Options parse_options(int argc, char** argv) {
  static const std::vector<std::string> kWithValue = {"--archs",        "--toolkit",  "--packages",  "--family",
                                                      "--out",          "--root",     "--arch-file", "--extra",
                                                      "--unit-seconds", "--instances"};
  static const std::vector<std::string> kFlags = {"--explain", "--json", "--help", "--share"};
  Options o;
  for (int i = 1; i < argc; ++i) {
    std::string flag = argv[i];
    std::optional<std::string> value;
    if (const size_t equals = flag.find('='); flag.starts_with("--") && equals != std::string::npos) {
      value = flag.substr(equals + 1);
      flag.resize(equals);
    }
    if (flag == "-h") flag = "--help";
    if (std::ranges::find(kFlags, flag) != kFlags.end()) {
      if (value) throw UsageError(flag + " takes no value");
      (flag == "--explain" ? o.explain : flag == "--json" ? o.json : flag == "--share" ? o.share : o.help) = true;
      continue;
    }
    if (std::ranges::find(kWithValue, flag) == kWithValue.end()) {
      std::vector<std::string> known = kWithValue;
      known.insert(known.end(), kFlags.begin(), kFlags.end());
      const std::string near = arch::nearest(flag, known);
      throw UsageError("'" + flag + "' is not an option" + (near.empty() ? "" : "; did you mean '" + near + "'?"));
    }
    if (!value && i + 1 >= argc) throw UsageError(flag + " needs a value");
    if (!value) value = argv[++i];
    if (flag == "--archs") o.archs = *value;
    if (flag == "--toolkit") o.toolkit = *value;
    if (flag == "--packages") o.packages = *value;
    if (flag == "--family") o.family = *value;
    if (flag == "--out") o.out = *value;
    if (flag == "--root") o.root = *value;
    if (flag == "--arch-file") o.arch_file = *value;
    if (flag == "--extra") o.extra.push_back(*value);
    if (flag == "--instances") {
      const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), o.instances);
      if (error != std::errc() || end != value->data() + value->size() || o.instances < 0)
        throw UsageError("--instances needs a number, 0 for all");
    }
    if (flag == "--unit-seconds") {
      char* end = nullptr;
      o.unit_seconds = std::strtod(value->c_str(), &end);
      if (end == value->c_str() || *end != '\0' || !(o.unit_seconds > 0))
        throw UsageError("--unit-seconds needs a number above 0");
    }
  }
  return o;
}

// Compute capabilities of this machine's GPUs, as the driver's own tool reports them.
std::vector<arch::Target> native_targets() {
  std::vector<arch::Target> out;
  FILE* pipe = popen("nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null", "r");
  if (!pipe) return out;
  char line[64];
  while (std::fgets(line, sizeof(line), pipe)) {
    std::string text = line;
    text.erase(text.find_last_not_of(" \r\n") + 1);
    if (const auto target = arch::parse_cuda_spelling(text)) out.push_back(*target);
  }
  pclose(pipe);
  return out;
}

void load_all(const Options& o, ArchFile& arch, Manifests& manifests, Diagnostics& diagnostics) {
  const std::filesystem::path root = o.root;
  const std::filesystem::path arch_path =
      o.arch_file.empty() ? root / "arch/arch.toml" : std::filesystem::path(o.arch_file);
  load_arch(read_file(arch_path), o.arch_file.empty() ? "arch/arch.toml" : o.arch_file, diagnostics, arch);
  std::vector<std::filesystem::path> folders;
  if (std::filesystem::is_directory(root / "kernels"))
    for (const auto& entry : std::filesystem::directory_iterator(root / "kernels"))
      if (std::filesystem::exists(entry.path() / "kernels.toml")) folders.push_back(entry.path());
  std::ranges::sort(folders);
  for (const auto& folder : folders) {
    const std::string family = folder.filename().string(), prefix = "kernels/" + family + "/";
    load_manifest(read_file(folder / "kernels.toml"), {prefix + "kernels.toml", folder, prefix, true, family}, arch,
                  diagnostics, manifests);
  }
  for (const std::string& extra : o.extra) {
    const auto path = std::filesystem::weakly_canonical(extra);
    load_manifest(read_file(path), {path.string(), path.parent_path(), path.parent_path().string() + "/", false, ""},
                  arch, diagnostics, manifests);
  }
  check_manifests(manifests, diagnostics);
}

// Packages of the table that a list of those which are there leaves out.
std::vector<arch::PackageRow> missing_packages(const std::string& list, const ArchFile& arch,
                                               Diagnostics& diagnostics) {
  std::vector<arch::PackageRow> out = arch.packages;
  for (size_t begin = 0, end; begin < list.size(); begin = end + 1) {
    end = std::min(list.find_first_of(";, ", begin), list.size());
    const std::string word = list.substr(begin, end - begin);
    if (word.empty() || std::erase_if(out, [&](const arch::PackageRow& p) { return word == p.name; }) > 0) continue;
    std::vector<std::string> known;
    for (const arch::PackageRow& p : arch.packages) known.push_back(p.name);
    diagnostics.add("--packages: " + unknown_name("package", word, known));
  }
  return out;
}

Request make_request(const Options& o, const ArchFile& arch, const Manifests& manifests, Diagnostics& diagnostics) {
  Request request;
  request.family = o.family;
  request.unit_seconds = o.unit_seconds;
  request.most_instances = o.instances;
  request.share_code = o.share;
  if (o.packages) request.missing = missing_packages(*o.packages, arch, diagnostics);
  if (!o.toolkit.empty()) {
    if (const auto v = arch::parse_version(o.toolkit))
      request.toolkit = *v;
    else
      diagnostics.add("--toolkit " + o.toolkit + ": not a version such as 13.0");
  }
  arch::ListContext context = arch.context(request.toolkit);
  std::vector<arch::Target> native;
  if (o.archs.find("native") != std::string::npos) native = native_targets();
  context.native = native;
  const arch::ParsedList parsed = arch::parse_list(o.archs, context);
  if (!parsed.error.empty()) diagnostics.add("--archs " + parsed.error);
  request.targets = parsed.targets;
  for (const arch::Target& t : parsed.targets) {
    if (t.kind == arch::Target::Kind::kCuda && !request.toolkit.known() && diagnostics.empty())
      diagnostics.add("--archs " + o.archs + " asks for CUDA code; say with --toolkit which toolkit compiles it");
    if (const arch::ArchRow* row = arch::find_row(arch.table, t); row && !row->has_kernels)
      diagnostics.add("--archs: target '" + arch::to_string(arch.table, t) +
                      "' is known, but no kernel exists for HIP targets yet");
  }
  std::erase_if(request.targets, [](const arch::Target& t) { return t.kind == arch::Target::Kind::kCpu; });
  if (!o.family.empty()) {
    std::vector<std::string> families;
    for (const Kernel& k : manifests.kernels)
      if (std::ranges::find(families, k.family) == families.end()) families.push_back(k.family);
    if (std::ranges::find(families, o.family) == families.end())
      diagnostics.add("--family: " + unknown_name("family", o.family, families));
  }
  return request;
}

void write_all(const Build& build, const std::string& folder) {
  OutputFolder out(folder);
  out.write("table.cpp", emit_table(build));
  out.write("targets.cmake", emit_cmake(build));
  out.write("coverage.json", emit_coverage_json(build));
  out.write("coverage.txt", emit_coverage_text(build, false));
  out.write("kernels.md", emit_kernels_markdown(build));
  out.write("devices.inc", emit_devices(build));
  out.write("tests.txt", emit_test_list(build));
  out.write("archs", emit_targets(build) + "\n");
  for (const Library& lib : build.libraries)
    for (const Unit& unit : lib.units)
      if (unit.generated) out.write("units/" + unit.file, emit_unit(unit));
  out.finish();
}

int report(const Diagnostics& diagnostics) {
  for (const std::string& m : diagnostics.messages()) std::cerr << m << "\n";
  const size_t n = diagnostics.messages().size();
  std::cerr << "kernelgen: " << n << (n == 1 ? " error\n" : " errors\n");
  return 1;
}

int run(int argc, char** argv) {
  const Options o = parse_options(argc, argv);
  if (o.help) {
    std::cout << kHelp;
    return 0;
  }
  Diagnostics diagnostics;
  ArchFile arch;
  Manifests manifests;
  load_all(o, arch, manifests, diagnostics);
  const Request request = make_request(o, arch, manifests, diagnostics);
  if (!diagnostics.empty()) return report(diagnostics);
  const Build build = make_build(arch, manifests, request, diagnostics);
  if (!diagnostics.empty()) return report(diagnostics);
  if (!o.out.empty()) write_all(build, o.out);
  std::cout << (o.json ? emit_coverage_json(build) : emit_coverage_text(build, o.explain));
  return 0;
}

} // namespace
} // namespace spf::kernelgen

int main(int argc, char** argv) {
  try {
    return spf::kernelgen::run(argc, argv);
  } catch (const spf::kernelgen::UsageError& e) {
    std::cerr << "kernelgen: " << e.what() << "; see kernelgen --help\n";
    return 2;
  } catch (const std::exception& e) {
    std::cerr << "kernelgen: " << e.what() << "\n";
    return 1;
  }
}
