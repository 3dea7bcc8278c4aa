// SPDX-License-Identifier: Apache-2.0
// Replies as hiredis parses them: what of them is taken, and what an error means for the connection.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "redlock/engine/transport.hpp"
#include "redlock/hiredis/api.hpp"

namespace redlock::inline v0_1::hiredis {

[[nodiscard]] inline std::string_view text_of(const redisReply& reply) noexcept {
    return reply.str == nullptr ? std::string_view{} : std::string_view{reply.str, reply.len};
}

// ---- errors ------------------------------------------------------------------------------------------

[[nodiscard]] inline bool begins_with_any(std::string_view text,
                                          std::initializer_list<std::string_view> codes) noexcept {
    for (const std::string_view code : codes) {
        if (text.starts_with(code) && (text.size() == code.size() || text[code.size()] == ' ')) return true;
    }
    return false;
}

/// An error that says "you may not" or "I do not know that", and will say so again. Any other code (BUSY,
/// LOADING, MASTERDOWN) is about the state of the server and is no answer. Proxies leave the code out.
[[nodiscard]] inline bool is_lasting_refusal(std::string_view text) noexcept {
    if (begins_with_any(text, {"NOPERM", "ERR"})) return true;
    for (const char letter : text.substr(0, text.find(' '))) {
        if (letter < 'A' || letter > 'Z') return true;
    }
    return false;
}

// ---- for voting --------------------------------------------------------------------------------------

[[nodiscard]] inline detail::Reply plain_of(const redisReply& reply) noexcept {
    using Kind = detail::Reply::Kind;
    detail::Reply plain;
    switch (reply.type) {
        case REDIS_REPLY_INTEGER:
            plain.kind = Kind::integer;
            plain.integer = reply.integer;
            break;
        case REDIS_REPLY_STRING:
        case REDIS_REPLY_STATUS:
        case REDIS_REPLY_ERROR:
            plain.kind = reply.type == REDIS_REPLY_ERROR ? Kind::error : Kind::text;
            plain.text = {reply.str, reply.len};
            break;
        case REDIS_REPLY_ARRAY: plain.kind = Kind::array; break;
        default: break;
    }
    return plain;
}

/// A reply and, in `elements`, what it is made of.
[[nodiscard]] inline detail::Reply plain_of(const redisReply& reply, std::vector<detail::Reply>& elements) {
    detail::Reply plain = plain_of(reply);
    elements.clear();
    for (std::size_t i = 0; plain.kind == detail::Reply::Kind::array && i < reply.elements; ++i) {
        elements.push_back(plain_of(*reply.element[i]));
    }
    plain.elements = elements;
    return plain;
}

}  // namespace redlock::inline v0_1::hiredis
