// Mapping and writing of files: whole or not at all.
#include "model/file.hpp"

#include "support.hpp"

namespace model_test {
namespace {

using namespace spearfish::model;

TEST(File, MapsWhatIsThere) {
  const Scratch dir;
  spill(dir / "a", "hello");
  const auto file = MappedFile::open(dir / "a");
  ASSERT_EQ(file->bytes().size(), 5u);
  EXPECT_EQ(static_cast<char>(file->bytes()[4]), 'o');
  spill(dir / "empty", "");
  EXPECT_TRUE(MappedFile::open(dir / "empty")->bytes().empty());
}

TEST(File, RefusesWhatIsNoFile) {
  const Scratch dir;
  EXPECT_EQ(refusal([&] { MappedFile::open(dir / "missing"); }).status(), SPF_NOT_FOUND);
  const Error folder = refusal([&] { MappedFile::open(dir.path()); });
  EXPECT_EQ(folder.status(), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(folder.allowed(), "a regular file");
}

TEST(File, AppearsOnlyWhenCommitted) {
  const Scratch dir;
  {
    AtomicFile file(dir / "out");
    file.write(2, bytes_of("cd"));
    file.write(0, bytes_of("ab"));
    EXPECT_FALSE(fs::exists(dir / "out"));
    file.commit();
    EXPECT_EQ(slurp(dir / "out"), "abcd");
  }
  EXPECT_EQ(dir.entries(), 1u) << "a temporary file was left";
}

TEST(File, LeavesNothingWithoutCommit) {
  const Scratch dir;
  { AtomicFile(dir / "out").write(0, bytes_of("half")); }
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(File, NeverReplaces) {
  const Scratch dir;
  spill(dir / "out", "precious");
  const Error e = refusal([&] { AtomicFile file(dir / "out"); });
  EXPECT_EQ(e.status(), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(e.field(), "output file");
  // A file that appears while another is being written stays too.
  {
    AtomicFile file(dir / "late");
    file.write(0, bytes_of("new"));
    spill(dir / "late", "precious");
    EXPECT_EQ(refusal([&] { file.commit(); }).field(), "output file");
  }
  EXPECT_EQ(slurp(dir / "late"), "precious");
  EXPECT_EQ(slurp(dir / "out"), "precious");
  EXPECT_EQ(dir.entries(), 2u);
  // Nor is a dangling link written through.
  fs::create_symlink(dir / "nowhere", dir / "link");
  EXPECT_EQ(refusal([&] { AtomicFile file(dir / "link"); }).field(), "output file");
}

TEST(File, SaysWhereItCannotWrite) {
  const Scratch dir;
  const Error e = refusal([&] { AtomicFile file(dir / "no-such-folder" / "out"); });
  EXPECT_EQ(e.status(), SPF_NOT_FOUND);
  EXPECT_NE(std::string(e.what()).find("no-such-folder"), std::string::npos);
}

TEST(Folder, AppearsOnlyWhenCommitted) {
  const Scratch dir;
  {
    OutputFolder folder(dir / "out");
    spill(folder.folder() / "a", "1");
    EXPECT_FALSE(fs::exists(dir / "out"));
    // Nobody else may write there meanwhile.
    EXPECT_EQ(refusal([&] { OutputFolder other(dir / "out"); }).value(), "being written by another process");
    folder.commit();
    EXPECT_EQ(slurp(dir / "out" / "a"), "1");
  }
  EXPECT_EQ(dir.entries(), 1u);
  EXPECT_EQ(refusal([&] { OutputFolder again(dir / "out"); }).field(), "output folder");
  {
    OutputFolder folder(dir / "left/");
    spill(folder.folder() / "a", "1");
  }
  EXPECT_EQ(dir.entries(), 1u) << "a temporary folder was left";
}

TEST(Folder, NeverReplaces) {
  const Scratch dir;
  OutputFolder folder(dir / "late");
  fs::create_directory(dir / "late");
  spill(dir / "late" / "a", "precious");
  EXPECT_EQ(refusal([&] { folder.commit(); }).field(), "output folder");
  EXPECT_EQ(slurp(dir / "late" / "a"), "precious");
}

TEST(Folder, ClearsWhatAKilledWriterLeft) {
  const Scratch dir;
  fs::create_directories(dir / ".out.partial" / "deep");
  spill(dir / ".out.partial" / "deep" / "old", "half");
  OutputFolder folder(dir / "out");
  spill(folder.folder() / "new", "whole");
  folder.commit();
  EXPECT_FALSE(fs::exists(dir / "out" / "deep"));
  EXPECT_EQ(slurp(dir / "out" / "new"), "whole");
  EXPECT_EQ(dir.entries(), 1u);
}

TEST(Error, ShowsBytesSafely) {
  const Error e(SPF_CORRUPT_DATA, "f", "magic", std::string_view("\0\n\x7f", 3), "GGUF");
  EXPECT_EQ(e.value(), "\\x00\\x0a\\x7f");
  EXPECT_STREQ(e.what(), "f: magic is \\x00\\x0a\\x7f; allowed: GGUF");
  EXPECT_LT(Error(SPF_CORRUPT_DATA, "f", "x", std::string(10000, 'a'), "").value().size(), 200u);
}

} // namespace
} // namespace model_test
