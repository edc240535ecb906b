# cmake -DFILES=kernels/a/cases.toml;... -DOUT=file.cpp -P embed_cases.cmake: case files as string literals, in
# pieces that every compiler takes.
set(rows "")
set(count 0)
foreach(file IN LISTS FILES)
  get_filename_component(folder ${file} DIRECTORY)
  get_filename_component(family ${folder} NAME)
  file(READ ${file} text)
  string(LENGTH "${text}" length)
  set(at 0)
  set(pieces "")
  while(at LESS length)
    string(SUBSTRING "${text}" ${at} 16000 piece)
    string(APPEND pieces "R\"spf_cases(${piece})spf_cases\"\n")
    math(EXPR at "${at} + 16000")
  endwhile()
  string(APPEND rows "    {\"${family}\", ${pieces}},\n")
  math(EXPR count "${count} + 1")
endforeach()
file(WRITE ${OUT}.new "// Written by check/embed_cases.cmake.
#include \"check/case.hpp\"

namespace spf::check {

const CaseFile kCaseFiles[] = {
${rows}    {\"\", \"\"}};
const int kCaseFileCount = ${count};

}  // namespace spf::check
")
file(COPY_FILE ${OUT}.new ${OUT} ONLY_IF_DIFFERENT)
file(REMOVE ${OUT}.new)
file(TOUCH_NOCREATE ${OUT})
