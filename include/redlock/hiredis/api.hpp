// SPDX-License-Identifier: Apache-2.0
// hiredis itself, without a word from the compiler about it.
#pragma once

#include <memory>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
#include <hiredis/hiredis.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace redlock::inline v0_1::hiredis {

/// Frees what redisCommand() returns.
struct FreeReply {
    void operator()(redisReply* reply) const noexcept { freeReplyObject(reply); }
};
using ReplyPtr = std::unique_ptr<redisReply, FreeReply>;

}  // namespace redlock::inline v0_1::hiredis
