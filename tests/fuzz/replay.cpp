// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target once for each file of a folder, in place of libFuzzer.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);

int main(int count, char** arguments) {
    if (count != 2) return std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]), 2;
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator{arguments[1]}) {
        std::printf("%s\n", entry.path().filename().c_str());
        std::fflush(stdout);  // the last one is the one that crashes
        std::ifstream file{entry.path(), std::ios::binary};
        const std::string input{std::istreambuf_iterator<char>{file}, {}};
        LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
        ++files;
    }
    if (files == 0) std::fprintf(stderr, "there is no file in %s\n", arguments[1]);
    return files == 0 ? 1 : 0;
}
