#include "tools/file_format.h"

namespace heed::tools {
namespace {

using std::string_view_literals::operator""sv;

constexpr struct {
  std::string_view begin;
  const char* name;
} kFormats[] = {
    {"GGUF"sv, "a GGUF file"},
    {"PK\x03\x04"sv, "a ZIP archive, as PyTorch writes its checkpoints of pickles"},
    {"\x80\x02"sv, "a pickle, as PyTorch writes its checkpoints"},
    {"\x80\x03"sv, "a pickle, as PyTorch writes its checkpoints"},
    {"\x80\x04"sv, "a pickle, as PyTorch writes its checkpoints"},
    {"\x80\x05"sv, "a pickle, as PyTorch writes its checkpoints"},
    {"\x89HDF\r\n"sv, "an HDF5 file"},
    {"version https://git-lfs"sv,
     "a Git LFS pointer and not the file itself, which git lfs pull fetches"},
    {"<!DOCTYPE html"sv, "an HTML page"},
    {"<!doctype html"sv, "an HTML page"},
    {"<html"sv, "an HTML page"},
};

}  // namespace

std::string other_format(std::string_view bytes) {
  for (const auto& format : kFormats) {
    if (bytes.starts_with(format.begin)) return format.name;
  }
  return "";
}

}  // namespace heed::tools
