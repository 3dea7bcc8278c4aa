// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share. Each target is one file: it defines try_input(), which aborts where a property
// does not hold. libFuzzer calls it with inputs of its own, replay.cpp with those of the corpus.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace redlock::test {

/// Defined by the target.
void try_input(std::string_view input);

/// Ends the program, so that libFuzzer keeps the input. `shown`: what the property does not hold for.
inline void must(bool holds, const char* property, std::string_view shown = {}) {
    if (holds) return;
    std::fprintf(stderr, "NOT SO: %s: ", property);
    std::fwrite(shown.data(), 1, shown.size(), stderr);
    std::abort();
}

/// The input with a text in place of every byte of that value: no fuzzer would find a secret by itself.
[[nodiscard]] inline std::string with_text_for(char byte, std::string_view text, std::string_view input) {
    std::string whole;
    for (const char letter : input) {
        if (letter == byte) {
            whole.append(text);
        } else {
            whole.push_back(letter);
        }
    }
    return whole;
}

}  // namespace redlock::test

extern "C" [[gnu::used]] inline int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    redlock::test::try_input({reinterpret_cast<const char*>(bytes), size});
    return 0;
}
