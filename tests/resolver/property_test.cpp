// Properties of the resolver over all targets, with every suffix, in requests of one, two and three, with five
// toolkits.
#include <algorithm>
#include <tuple>

#include "support.hpp"

namespace spf::arch::test {
namespace {

using Kind = Target::Kind;

const char* const kToolkits[] = {"12.4", "12.6", "12.8", "12.9", "13.0"};

// Every capability with every suffix, whether such code exists or not: the resolver must answer all of them.
std::vector<Target> universe() {
  std::vector<Target> out;
  for (const ArchRow& row : table().rows)
    if (row.target.kind == Kind::kCuda)
      for (Suffix s : {Suffix::kNone, Suffix::kFamily, Suffix::kSpecific}) {
        Target t = row.target;
        t.suffix = s;
        out.push_back(t);
      }
  return out;
}

std::vector<Target> devices() {
  std::vector<Target> out;
  for (const ArchRow& row : table().rows)
    if (row.target.kind == Kind::kCuda) out.push_back(row.target);
  return out;
}

// Kernels of every kind: by features and by lists, with and without PTX.
struct Pool {
  std::vector<Listed> lists;
  std::vector<Featured> featured;
  std::vector<KernelFacts> kernels;

  Pool() {
    for (const char* l : {"8.0+PTX", "8.0+PTX 9.0+PTX", "7.5 8.0 8.7 8.9+PTX", "9.0 9.0a", "10.0f 11.0f", "12.0a 12.1a",
                          "12.0f 12.0", "9.0a 10.0f 10.3a", "7.5 8.0 8.6 8.7 8.9 9.0 10.0 11.0 12.0"})
      lists.emplace_back(l);
    for (const std::vector<const char*>& needs : std::vector<std::vector<const char*>>{{},
                                                                                       {"cp_async", "mma_f16"},
                                                                                       {"mma_fp8"},
                                                                                       {"wgmma"},
                                                                                       {"tcgen05"},
                                                                                       {"mma_block_fp4"},
                                                                                       {"setmaxnreg"},
                                                                                       {"tma", "wgmma", "pdl"}}) {
      featured.push_back({needs, false});
      featured.push_back({needs, true});
    }
    for (const Listed& l : lists) kernels.push_back(l.facts());
    for (const Featured& f : featured) kernels.push_back(f.facts());
    kernels.push_back(featured[2].facts());
    kernels.back().cuda_min = {12, 8};
  }
};

const Pool& pool() {
  static const Pool p;
  return p;
}

std::string name(const KernelFacts& k, const std::vector<Target>& request, const char* toolkit) {
  std::string out = "needs";
  for (const char* n : k.needs) out += std::string(" ") + n;
  return out + ", lists " + text({k.targets.begin(), k.targets.end()}) + (k.ptx ? ", ptx" : "") + "; asked for " +
         text(request) + " with " + toolkit;
}

const Answered* find(const Resolution& r, Target t) {
  const auto it = std::ranges::find(r.answers, t, &Answered::target);
  return it == r.answers.end() ? nullptr : &*it;
}

bool runs(const std::vector<Target>& code, Target device) {
  return std::ranges::any_of(
      code, [&](const Target& c) { return (c.sass && serves(c, device)) || serves_by_ptx(c, device); });
}

// An answer is coherent: what it promises is compiled and can run; what it refuses has a reason.
void check_answers(const KernelFacts& k, const std::vector<Target>& request, const char* toolkit, const Resolution& r) {
  const std::vector<Target> canon = canonical(request);
  ASSERT_EQ(r.answers.size(), canon.size()) << name(k, request, toolkit);
  for (size_t i = 0; i < canon.size(); ++i) {
    const Answered& a = r.answers[i];
    ASSERT_EQ(a.target, canon[i]) << name(k, request, toolkit);
    if (a.answer == Answer::kExcluded) {
      ASSERT_FALSE(a.reason.empty()) << name(k, request, toolkit);
      ASSERT_EQ(a.code.kind, Kind::kNone) << name(k, request, toolkit);
      continue;
    }
    Target device = a.target;
    device.suffix = Suffix::kNone;
    const bool ptx = a.answer == Answer::kPtx;
    ASSERT_TRUE(ptx ? serves_by_ptx(a.code, device) : serves(a.code, device)) << name(k, request, toolkit);
    const bool compiled = std::ranges::any_of(r.code, [&](const Target& c) {
      return c.major == a.code.major && c.minor == a.code.minor && c.suffix == a.code.suffix && (ptx ? c.ptx : c.sass);
    });
    ASSERT_TRUE(compiled) << name(k, request, toolkit);
    const ArchRow* row = find_row(table(), a.code);
    ASSERT_NE(row, nullptr);
    const Version first = a.code.suffix == Suffix::kNone     ? row->toolkit
                          : a.code.suffix == Suffix::kFamily ? row->family_toolkit
                                                             : row->specific_toolkit;
    ASSERT_TRUE(first.known() && first <= version(toolkit)) << name(k, request, toolkit);
    for (const char* need : k.needs) ASSERT_TRUE(has_feature(*row, a.code.suffix, need)) << name(k, request, toolkit);
  }
  ASSERT_TRUE(std::ranges::is_sorted(r.code)) << name(k, request, toolkit);
  // No machine code that no request can run.
  for (const Target& c : r.code)
    ASSERT_TRUE(!c.sass || std::ranges::any_of(r.answers, [&](const Answered& a) {
      return a.answer != Answer::kExcluded && serves(c, a.target);
    })) << name(k, request, toolkit);
}

// Every request of up to three targets.
template <class Body>
void for_requests(size_t size, Body&& body) {
  const std::vector<Target> all = universe();
  if (size == 1)
    for (const Target& a : all) body(std::vector<Target>{a});
  if (size == 2)
    for (size_t i = 0; i < all.size(); ++i)
      for (size_t j = i + 1; j < all.size(); ++j) body(std::vector<Target>{all[i], all[j]});
  if (size == 3)
    for (size_t i = 0; i < all.size(); ++i)
      for (size_t j = i + 1; j < all.size(); ++j)
        for (size_t l = j + 1; l < all.size(); ++l) body(std::vector<Target>{all[i], all[j], all[l]});
}

class Properties : public ::testing::TestWithParam<std::tuple<const char*, size_t>> {
 protected:
  const char* toolkit() const { return std::get<0>(GetParam()); }
  size_t size() const { return std::get<1>(GetParam()); }
};

TEST_P(Properties, TotalAndCoherent) {
  for (const KernelFacts& k : pool().kernels)
    for_requests(size(), [&](const std::vector<Target>& request) {
      if (!HasFatalFailure()) check_answers(k, request, toolkit(), resolve(table(), k, request, version(toolkit())));
    });
}

TEST_P(Properties, OrderAndRepetitionDoNotMatter) {
  const Version v = version(toolkit());
  for (const KernelFacts& k : pool().kernels)
    for_requests(size(), [&](std::vector<Target> request) {
      if (HasFatalFailure()) return;
      const Resolution r = resolve(table(), k, request, v);
      std::vector<Target> twice = request;
      twice.insert(twice.end(), request.begin(), request.end());
      ASSERT_EQ(resolve(table(), k, twice, v), r) << name(k, request, toolkit());
      ASSERT_EQ(resolve(table(), k, canonical(request), v), r) << name(k, request, toolkit());
      std::ranges::reverse(request);
      ASSERT_EQ(resolve(table(), k, request, v), r) << name(k, request, toolkit());
      std::ranges::rotate(request, request.begin() + 1);
      ASSERT_EQ(resolve(table(), k, request, v), r) << name(k, request, toolkit());
    });
}

// The answer for one target does not depend on what else is asked for, so adding a target loses nothing.
TEST_P(Properties, AddingATargetNeverLosesCoverage) {
  const Version v = version(toolkit());
  for (const KernelFacts& k : pool().kernels) {
    std::vector<std::pair<Target, Resolution>> alone;
    for (const Target& t : universe()) alone.emplace_back(t, resolve(table(), k, std::vector<Target>{t}, v));
    const auto single = [&](Target t) -> const Resolution& {
      return std::ranges::find(alone, t, &std::pair<Target, Resolution>::first)->second;
    };
    for_requests(size(), [&](const std::vector<Target>& request) {
      if (HasFatalFailure()) return;
      const Resolution r = resolve(table(), k, request, v);
      for (const Target& t : request) {
        ASSERT_EQ(*find(r, t), single(t).answers[0]) << name(k, request, toolkit());
        for (const Target& device : devices())
          ASSERT_TRUE(!runs(single(t).code, device) || runs(r.code, device)) << name(k, request, toolkit());
      }
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Resolver, Properties,
                         ::testing::Combine(::testing::ValuesIn(kToolkits), ::testing::Values(1u, 2u, 3u)),
                         [](const auto& p) {
                           std::string toolkit = std::get<0>(p.param);
                           std::ranges::replace(toolkit, '.', '_');
                           return "Toolkit" + toolkit + "Requests" + std::to_string(std::get<1>(p.param));
                         });

// Asking for x and xa gives what each alone gives.
TEST(Resolver, PlainAndSpecificTogetherGiveBoth) {
  for (const char* toolkit : kToolkits)
    for (const KernelFacts& k : pool().kernels)
      for (const ArchRow& row : table().rows) {
        if (row.target.kind != Kind::kCuda) continue;
        for (Suffix suffix : {Suffix::kFamily, Suffix::kSpecific}) {
          Target suffixed = row.target;
          suffixed.suffix = suffix;
          const Resolution plain = resolve(table(), k, std::vector<Target>{row.target}, version(toolkit));
          const Resolution special = resolve(table(), k, std::vector<Target>{suffixed}, version(toolkit));
          const Resolution both = resolve(table(), k, std::vector<Target>{row.target, suffixed}, version(toolkit));
          ASSERT_EQ(both.answers[0], plain.answers[0]);
          ASSERT_EQ(both.answers[1], special.answers[0]);
          std::vector<Target> code = plain.code;
          code.insert(code.end(), special.code.begin(), special.code.end());
          ASSERT_EQ(both.code, canonical(code)) << name(k, {row.target, suffixed}, toolkit);
        }
      }
}

// A newer toolkit never takes coverage away.
TEST(Resolver, ANewerToolkitNeverLosesCoverage) {
  for (const KernelFacts& k : pool().kernels)
    for (const Target& t : universe())
      for (size_t i = 1; i < std::size(kToolkits); ++i) {
        const auto before = resolve(table(), k, std::vector<Target>{t}, version(kToolkits[i - 1]));
        const auto after = resolve(table(), k, std::vector<Target>{t}, version(kToolkits[i]));
        ASSERT_TRUE(before.answers[0].answer == Answer::kExcluded || after.answers[0].answer != Answer::kExcluded)
            << name(k, {t}, kToolkits[i]);
      }
}

// +PTX and -virtual requests are answered too, and never change which machine code serves.
TEST(Resolver, PtxRequestsAreTotal) {
  for (const char* toolkit : kToolkits)
    for (const KernelFacts& k : pool().kernels)
      for (const Target& device : devices()) {
        Target with_ptx = device, ptx_alone = device;
        with_ptx.ptx = true;
        ptx_alone.ptx = true;
        ptx_alone.sass = false;
        const Resolution plain = resolve(table(), k, std::vector<Target>{device}, version(toolkit));
        const Resolution both = resolve(table(), k, std::vector<Target>{with_ptx}, version(toolkit));
        ASSERT_EQ(both.answers.size(), 1u);
        ASSERT_EQ(both.answers[0].answer, plain.answers[0].answer);
        ASSERT_EQ(both.answers[0].code, plain.answers[0].code);
        const Resolution alone = resolve(table(), k, std::vector<Target>{ptx_alone}, version(toolkit));
        ASSERT_EQ(alone.answers.size(), 1u);
        ASSERT_TRUE(alone.answers[0].answer == Answer::kPtx || alone.answers[0].answer == Answer::kExcluded);
        for (const Target& c : alone.code) ASSERT_FALSE(c.sass);
      }
}

} // namespace
} // namespace spf::arch::test
