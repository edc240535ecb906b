# Warnings for our own code; third-party headers are SYSTEM includes.
add_library(spearfish_warnings INTERFACE)
target_compile_options(spearfish_warnings INTERFACE
  "$<$<COMPILE_LANGUAGE:C,CXX>:-Wall;-Wextra;-Wshadow;-Wcast-qual>"
  "$<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>"
  # GCC 12 warns of overlapping copies inside std::string's operator+, which there are none (GCC PR 105329).
  "$<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>"
  # Instrumented code defeats its flow analysis: it finds std::regex uninitialized.
  "$<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<BOOL:${SPEARFISH_SANITIZE}>>:-Wno-maybe-uninitialized>"
  "$<$<AND:$<COMPILE_LANGUAGE:C,CXX>,$<BOOL:${SPEARFISH_WERROR}>>:-Werror>")
