// SPDX-License-Identifier: Apache-2.0
// Replies of a node, through hiredis with our limits, as votes on every kind of request. The first byte of
// the input says in what pieces the rest arrives; byte 1 stands for the token of the request, byte 2 for its
// resource.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "fuzz/memory_in_use.hpp"
#include "redlock/hiredis/replies.hpp"
#include "redlock/hiredis/reply_reader.hpp"
#include "redlock/voting/command.hpp"
#include "redlock/voting/reply.hpp"

namespace redlock::test {
namespace {

using redlock::detail::Command;
using Kind = Command::Kind;
using namespace std::chrono_literals;

constexpr std::string_view token_text = "c0ffee0123456789abcdef0123456789abcdef01";
constexpr std::string_view resource = "confidential/order";

const std::vector<Command>& commands() {
    static const std::vector<Command> all = [] {
        using namespace redlock::detail;
        const Token token = Token::parse(token_text);
        const std::string name{resource};
        const Claim plain{{name}, {}, {}};
        const Claim claim{{name, "second"}, {"{a}:f", "{b}:f"}, {"{a}:q", "{b}:q"}};
        const std::vector<std::int64_t> fences{1'750'000'000'000'001, 1'750'000'000'000'002};
        return std::vector<Command>{acquire_command(plain, token, 10s, 24h, {}),
                                    acquire_command(claim, token, 10s, 24h, fences),
                                    adopt_command(claim, token, 24h, fences),
                                    commit_command(claim, token, 24h, fences),
                                    hold_command(Kind::extend, claim, token, 10s, 24h, fences),
                                    hold_command(Kind::put_back, claim, token, 10s, 24h, fences),
                                    release_command(claim, token),
                                    peek_command(claim.resources, claim.counters),
                                    enlist_command(claim, "waiter", 1'750'000'000'000'000, 10s),
                                    delist_command(claim, "waiter"),
                                    load_command(release_script)};
    }();
    return all;
}

[[nodiscard]] std::size_t count_elements(const redisReply& reply) {
    std::size_t count = reply.elements;
    for (std::size_t i = 0; i < reply.elements; ++i) count += count_elements(*reply.element[i]);
    return count;
}

/// Whether it is an array of integers alone, as many as that and at least one.
[[nodiscard]] bool is_numbers(const redisReply& reply, std::size_t first = 0) {
    if (reply.type != REDIS_REPLY_ARRAY || reply.elements == 0) return false;
    for (std::size_t i = first; i < reply.elements; ++i) {
        if (reply.element[i]->type != REDIS_REPLY_INTEGER) return false;
    }
    return true;
}

[[nodiscard]] bool is_yes_with(std::size_t values, const redisReply& reply) {
    return is_numbers(reply) && reply.elements == values + 1 && reply.element[0]->integer == 1;
}

/// What voting/ documents as a yes, told from the reply itself.
[[nodiscard]] bool is_documented_yes(Kind kind, const redisReply& reply) {
    const bool is_text = reply.type == REDIS_REPLY_STATUS || reply.type == REDIS_REPLY_STRING;
    const bool is_one = reply.type == REDIS_REPLY_INTEGER && reply.integer == 1;
    switch (kind) {
        case Kind::acquire:
        case Kind::adopt:
            if (is_text) return hiredis::text_of(reply) == "OK";
            return is_numbers(reply) && reply.element[0]->integer == 1;
        case Kind::peek: return reply.type == REDIS_REPLY_ARRAY && reply.elements % 3 == 0;
        case Kind::extend: return is_one || is_yes_with(1, reply);
        case Kind::enlist: return is_one || is_yes_with(3, reply);
        case Kind::release: return is_one || (reply.type == REDIS_REPLY_INTEGER && reply.integer == 2);
        default: return is_one;
    }
}

void must_be_sound(const Command& command, const redisReply& reply, const redlock::detail::Answer& answer) {
    const bool is_error = reply.type == REDIS_REPLY_ERROR;
    must(!is_error || answer.vote == Vote::refused, "an error is a refusal", hiredis::text_of(reply));
    must(answer.vote != Vote::granted || is_documented_yes(command.kind(), reply),
         "only a documented reply grants", command.bytes());
    must(answer.vote == Vote::granted || answer.vote == Vote::denied || answer.vote == Vote::absent ||
             answer.vote == Vote::refused,
         "a reply is a vote", command.bytes());
    must(answer.values.size() <= reply.elements || command.kind() == Kind::release,
         "no value without an element");
    if (!is_error) return;
    must(answer.text.size() <= 256 + 8, "a refusal is short", answer.text);
    for (const std::string_view secret : {token_text, resource}) {
        // A peek names no token.
        if (command.bytes().find(secret) == std::string::npos || command.kind() == Kind::load) continue;
        must(answer.text.find(secret) == std::string::npos, "no error repeats a secret", answer.text);
        must(answer.text.find(secret.substr(0, 8)) == std::string::npos, "nor its beginning", answer.text);
    }
}

void vote_on(const redisReply& reply) {
    std::vector<redlock::detail::Reply> elements;
    const redlock::detail::Reply plain = hiredis::plain_of(reply, elements);
    for (const Command& command : commands()) {
        must_be_sound(command, reply, redlock::detail::read_reply(command, plain));
        static_cast<void>(redlock::detail::is_contradiction(plain));
    }
    static_cast<void>(hiredis::is_lasting_refusal(hiredis::text_of(reply)));
}

void read_all(std::string_view bytes, std::size_t piece) {
    using Next = hiredis::ReplyReader::Next;
    constexpr std::size_t stated = 2 << 20;  // 8,192 elements, and twice what hiredis may have buffered
    const std::size_t before = memory_in_use();
    hiredis::ReplyReader reader;
    std::string error;
    while (!bytes.empty()) {
        const std::string_view part = bytes.substr(0, piece);
        bytes.remove_prefix(part.size());
        reader.feed(part);
        for (;;) {
            hiredis::ReplyPtr reply;
            const Next next = reader.next(reply, error);
            must(next != Next::rubbish || !error.empty(), "rubbish has a reason");
            if (next == Next::rubbish) return;
            must(memory_in_use() <= before + stated, "a reply takes no more memory than is stated");
            if (next == Next::none) break;
            must(count_elements(*reply) <= hiredis::ElementBudget::most,
                 "a reply has no more elements than allowed");
            vote_on(*reply);
        }
    }
}

}  // namespace

void try_input(std::string_view input) {
    if (input.empty()) return;
    for (const std::string_view secret : {token_text, resource}) {
        if (input.find(secret.substr(0, 8)) != std::string_view::npos) return;  // found by comparing
    }
    const std::size_t piece = static_cast<unsigned char>(input.front());
    const std::string bytes = with_text_for('\1', token_text, with_text_for('\2', resource, input.substr(1)));
    read_all(bytes, piece == 0 ? bytes.size() : piece);
}

}  // namespace redlock::test
