// SPDX-License-Identifier: Apache-2.0
// SHA-1: EVALSHA names a script by it. (Nothing here is secret; it is no security hash.)
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace redlock::inline v0_1::detail {

/// One round of FIPS 180-4 over the 64 bytes of a block.
inline void sha1_block(std::array<std::uint32_t, 5>& state, const std::array<std::uint8_t, 64>& block) {
    std::array<std::uint32_t, 80> w{};
    for (std::size_t i = 0; i < 64; ++i) w[i / 4] = (w[i / 4] << 8) | block[i];
    for (std::size_t i = 16; i < 80; ++i) {
        w[i] = std::rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    }
    auto [a, b, c, d, e] = state;
    for (std::size_t i = 0; i < 80; ++i) {
        std::uint32_t f = b ^ c ^ d;
        std::uint32_t k = 0xCA62C1D6;
        if (i < 20) {
            f = (b & c) | (~b & d);
            k = 0x5A827999;
        } else if (i < 40) {
            k = 0x6ED9EBA1;
        } else if (i < 60) {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8F1BBCDC;
        }
        const std::uint32_t next = std::rotl(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = std::rotl(b, 30);
        b = a;
        a = next;
    }
    state = {state[0] + a, state[1] + b, state[2] + c, state[3] + d, state[4] + e};
}

/// The 40 lowercase hex digits of a text's SHA-1.
[[nodiscard]] inline std::array<char, 40> sha1_hex(std::string_view text) {
    std::array<std::uint32_t, 5> state{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    const std::uint64_t bits = std::uint64_t{text.size()} * 8;
    const std::size_t blocks = (text.size() + 8) / 64 + 1;
    for (std::size_t n = 0; n < blocks; ++n) {
        std::array<std::uint8_t, 64> block{};
        for (std::size_t i = 0; i < 64; ++i) {
            const std::size_t at = n * 64 + i;
            if (at < text.size()) block[i] = static_cast<std::uint8_t>(text[at]);
            if (at == text.size()) block[i] = 0x80;
            if (n + 1 == blocks && i >= 56) block[i] = static_cast<std::uint8_t>(bits >> (8 * (63 - i)));
        }
        sha1_block(state, block);
    }
    std::array<char, 40> hex{};
    for (std::size_t i = 0; i < 40; ++i) {
        hex[i] = "0123456789abcdef"[(state[i / 8] >> (28 - 4 * (i % 8))) & 0xF];
    }
    return hex;
}

}  // namespace redlock::inline v0_1::detail
