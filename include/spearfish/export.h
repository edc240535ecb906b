/* Symbol visibility. Everything that is not marked SPF_API is hidden. */
#ifndef SPEARFISH_EXPORT_H
#define SPEARFISH_EXPORT_H

#if defined(_WIN32)
#if defined(SPF_BUILDING)
#define SPF_API __declspec(dllexport)
#else
#define SPF_API __declspec(dllimport)
#endif
#else
#define SPF_API __attribute__((visibility("default")))
#endif

#endif
