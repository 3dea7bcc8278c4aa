// SPDX-License-Identifier: Apache-2.0
// The bytes that wait for a socket.
#include "redlock/hiredis/out_buffer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace redlock::test {
namespace {

TEST(OutBuffer, gives_the_bytes_in_order) {
    hiredis::OutBuffer buffer;
    EXPECT_TRUE(buffer.empty());
    buffer.append("abc");
    buffer.consume(2);
    buffer.append("def");
    EXPECT_EQ(buffer.pending(), "cdef");
    buffer.consume(4);
    EXPECT_TRUE(buffer.empty());
}

// The bytes were moved unless the rest of the backlog begins right behind those taken.
TEST(OutBuffer, moves_no_more_bytes_than_it_was_given_however_small_the_pieces) {
    constexpr std::size_t backlog = std::size_t{32} << 20U;
    constexpr std::size_t piece = (std::size_t{1} << 16U) + 1;
    hiredis::OutBuffer buffer;
    buffer.append(std::string(backlog, 'x'));
    std::size_t moved = 0;
    while (!buffer.empty()) {
        const std::size_t taken = std::min(piece, buffer.pending().size());
        const char* const expected = buffer.pending().data() + taken;
        buffer.consume(taken);
        if (!buffer.empty() && buffer.pending().data() != expected) moved += buffer.pending().size();
    }
    EXPECT_LE(moved, backlog);
}

}  // namespace
}  // namespace redlock::test
