// SPDX-License-Identifier: Apache-2.0
// What is sent to a node. The scripts are in scripts.hpp, the replies in reply.hpp.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/token.hpp"
#include "redlock/voting/claim.hpp"
#include "redlock/voting/resp.hpp"
#include "redlock/voting/scripts.hpp"

namespace redlock::inline v0_1::detail {

/// One request, the same for every node.
class Command {
   public:
    enum class Kind : std::uint8_t {
        acquire,
        adopt,
        commit,
        extend,
        put_back,
        release,
        peek,
        enlist,
        delist,
        load
    };

    Command(Kind kind, std::string bytes) : kind_{kind}, bytes_{std::move(bytes)} {}
    Command(Kind kind, const Script& script, std::string bytes, std::size_t tail)
        : kind_{kind}, script_{&script}, tail_{tail}, bytes_{std::move(bytes)} {}

    [[nodiscard]] Kind kind() const noexcept { return kind_; }
    [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }
    [[nodiscard]] const Script* script() const noexcept { return script_; }

    /// The same request with the script's text in place of its name, for a node that does not know it.
    [[nodiscard]] std::string with_script_text() const {
        const std::size_t count = bytes_.find("\r\n");
        std::string full = bytes_.substr(0, count + 2);
        full.append(joined({"$4\r\nEVAL\r\n$", script_->text.size(), "\r\n"}));
        full.append(script_->text).append("\r\n").append(bytes_, tail_);
        return full;
    }

    /// Its arguments, the command's name first, as views of its bytes. Slow: only for errors.
    [[nodiscard]] std::vector<std::string_view> arguments() const {
        std::string_view rest = bytes_;
        const auto number = [&rest]() -> std::size_t {
            const std::size_t end = rest.find("\r\n");
            std::uint64_t value = 0;
            static_cast<void>(read_number(rest.substr(1, end - 1), value));
            rest.remove_prefix(end + 2);
            return std::min<std::uint64_t>(value, rest.size());
        };
        std::vector<std::string_view> list(number());
        for (std::string_view& argument : list) {
            const std::size_t size = number();
            argument = rest.substr(0, size);
            rest.remove_prefix(size + 2);
        }
        return list;
    }

    /// The keys, tokens and names in it, which no message may show (R31).
    [[nodiscard]] std::vector<std::string_view> secrets() const {
        std::vector<std::string_view> list = arguments();
        if (kind_ == Kind::load || list.size() < 3) return {};
        if (script_ == nullptr) return {list[1], list[2]};  // SET key token
        // EVALSHA name count keys... token, or whoever waits..., numbers and flags
        std::uint64_t key_count = 0;
        static_cast<void>(read_number(list[2], key_count));
        list.erase(list.begin(), list.begin() + 3);
        const std::size_t first_known = std::min<std::uint64_t>(key_count + 1, list.size());
        const auto is_known = [](std::string_view argument) {
            const bool is_number = argument.find_first_not_of("-0123456789") == std::string_view::npos;
            return is_number || argument == "exactly" || argument == "above";
        };
        list.erase(
            std::remove_if(list.begin() + static_cast<std::ptrdiff_t>(first_known), list.end(), is_known),
            list.end());
        return list;
    }

   private:
    Kind kind_;
    const Script* script_ = nullptr;
    std::size_t tail_ = 0;  // where what follows the script's name begins
    std::string bytes_;
};

/// The beginning of an EVALSHA: script, key count, the claim's keys.
[[nodiscard]] inline std::pair<RequestWriter, std::size_t> begin_script(
    const Script& script, std::span<const std::string> keys, std::span<const std::string> more_keys,
    std::size_t argument_count) {
    const std::size_t key_count = keys.size() + more_keys.size();
    RequestWriter writer{3 + key_count + argument_count};
    writer.arg("EVALSHA").arg(sha1_of(script));
    const std::size_t tail = writer.size();
    writer.arg(static_cast<std::int64_t>(key_count));
    for (const std::string& key : keys) writer.arg(key);
    for (const std::string& key : more_keys) writer.arg(key);
    return {std::move(writer), tail};
}

/// SET resource token NX PX ttl, or the script that does as much and more.
[[nodiscard]] inline Command acquire_command(const Claim& claim, const Token& token,
                                             std::chrono::milliseconds ttl,
                                             std::chrono::milliseconds fence_ttl,
                                             std::span<const std::int64_t> proposals) {
    constexpr auto kind = Command::Kind::acquire;
    if (!claim.is_fenced() && claim.resources.size() == 1) {
        RequestWriter writer{6};
        writer.arg("SET").arg(claim.resources.front()).arg(token.str()).arg("NX").arg("PX").arg(ttl);
        return {kind, std::move(writer).take()};
    }
    const Script& script = claim.is_fenced() ? fenced_acquire_script : acquire_script;
    auto [writer, tail] =
        begin_script(script, claim.resources, claim.counters, claim.is_fenced() ? 3 + proposals.size() : 2);
    writer.arg(token.str()).arg(ttl);
    if (claim.is_fenced()) writer.arg(fence_ttl);
    for (const std::int64_t proposal : proposals) writer.arg(proposal);
    return {kind, script, std::move(writer).take(), tail};
}

[[nodiscard]] inline Command adopt_command(const Claim& claim, const Token& token,
                                           std::chrono::milliseconds fence_ttl,
                                           std::span<const std::int64_t> proposals) {
    auto [writer, tail] = begin_script(adopt_script, claim.resources, claim.counters, 2 + proposals.size());
    writer.arg(token.str()).arg(fence_ttl);
    for (const std::int64_t proposal : proposals) writer.arg(proposal);
    return {Command::Kind::adopt, adopt_script, std::move(writer).take(), tail};
}

[[nodiscard]] inline Command commit_command(const Claim& claim, const Token& token,
                                            std::chrono::milliseconds fence_ttl,
                                            std::span<const std::int64_t> fences, bool above = false) {
    const std::size_t count = 2 + fences.size() + (above ? 1 : 0);
    auto [writer, tail] = begin_script(commit_script, claim.resources, claim.counters, count);
    writer.arg(token.str()).arg(fence_ttl);
    for (const std::int64_t fence : fences) writer.arg(fence);
    if (above) writer.arg("above");
    return {Command::Kind::commit, commit_script, std::move(writer).take(), tail};
}

/// Extend or put back, which take the same arguments; an extension may shorten the lease.
[[nodiscard]] inline Command hold_command(Command::Kind kind, const Claim& claim, const Token& token,
                                          std::chrono::milliseconds ttl, std::chrono::milliseconds fence_ttl,
                                          std::span<const std::int64_t> fences, bool exactly = false) {
    const Script& script = kind == Command::Kind::put_back ? put_back_script : extend_script;
    const std::size_t count = (claim.is_fenced() ? 3 + fences.size() : 2) + (exactly ? 1 : 0);
    auto [writer, tail] = begin_script(script, claim.resources, claim.counters, count);
    writer.arg(token.str()).arg(ttl);
    if (claim.is_fenced()) writer.arg(fence_ttl);
    for (const std::int64_t fence : fences) writer.arg(fence);
    if (exactly) writer.arg("exactly");
    return {kind, script, std::move(writer).take(), tail};
}

[[nodiscard]] inline Command release_command(const Claim& claim, const Token& token) {
    auto [writer, tail] = begin_script(release_script, claim.resources, {}, 1 + claim.queues.size());
    writer.arg(token.str());
    for (const std::string& queue : claim.queues) writer.arg(queue);
    return {Command::Kind::release, release_script, std::move(writer).take(), tail};
}

[[nodiscard]] inline Command enlist_command(const Claim& claim, std::string_view waiter, std::int64_t since,
                                            std::chrono::milliseconds life) {
    auto [writer, tail] = begin_script(enlist_script, claim.resources, claim.queues, 3);
    writer.arg(waiter).arg(since).arg(life);
    return {Command::Kind::enlist, enlist_script, std::move(writer).take(), tail};
}

[[nodiscard]] inline Command delist_command(const Claim& claim, std::string_view waiter) {
    auto [writer, tail] = begin_script(delist_script, claim.resources, claim.queues, 1);
    writer.arg(waiter);
    return {Command::Kind::delist, delist_script, std::move(writer).take(), tail};
}

[[nodiscard]] inline Command peek_command(std::span<const std::string> resources,
                                          std::span<const std::string> counters) {
    auto [writer, tail] = begin_script(peek_script, resources, counters, 0);
    return {Command::Kind::peek, peek_script, std::move(writer).take(), tail};
}

/// Makes a node know a script, and runs nothing.
[[nodiscard]] inline Command load_command(const Script& script) {
    RequestWriter writer{3};
    writer.arg("SCRIPT").arg("LOAD").arg(script.text);
    return {Command::Kind::load, std::move(writer).take()};
}

}  // namespace redlock::inline v0_1::detail
