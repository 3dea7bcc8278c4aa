// SPDX-License-Identifier: Apache-2.0
// Requests and replies in terms of the algorithm, for the timelines.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/model_redis.hpp"
#include "sim/node.hpp"

namespace redlock::sim {

/// Short names, the same in every run, for values that are random or large.
class ShortNames {
   public:
    /// This number is subtracted from a fencing token before it is shown.
    explicit ShortNames(std::int64_t fence_base) : fence_base_{fence_base} {}

    [[nodiscard]] static std::string client(std::uint32_t index) {
        return std::string(1, static_cast<char>('A' + index));
    }
    /// Numbered in the order in which they are first asked for.
    [[nodiscard]] std::string token(std::string_view token) {
        auto place = std::find(tokens_.begin(), tokens_.end(), token);
        if (place == tokens_.end()) place = tokens_.insert(place, std::string{token});
        return "token-" + std::to_string(place - tokens_.begin() + 1);
    }
    [[nodiscard]] std::string fence(std::int64_t value) const { return std::to_string(value - fence_base_); }
    [[nodiscard]] std::int64_t fence_of(std::int64_t shown) const noexcept { return fence_base_ + shown; }

   private:
    std::int64_t fence_base_;
    std::vector<std::string> tokens_;
};

/// One request in its parts.
struct Request {
    std::string_view name;
    std::string_view resource;
    std::string_view token;  ///< empty for those who wait
    std::vector<std::string_view> arguments;

    explicit Request(ModelRedis::Words all) : name{name_of(all)}, token{token_of(all)} {
        if (!all[0].starts_with("EVAL")) return;
        const auto key_count = static_cast<std::size_t>(ModelStore::number(all[2]));
        resource = all[3];
        arguments.assign(all.begin() + 3 + static_cast<std::ptrdiff_t>(key_count), all.end());
    }

    [[nodiscard]] std::int64_t number(std::size_t argument) const {
        return ModelStore::number(arguments[argument]);
    }
};

/// What a client asks for.
[[nodiscard]] inline std::string text_of(const Request& request, ShortNames& names) {
    const std::string token = request.token.empty() ? std::string{} : names.token(request.token);
    const auto ttl = [&] { return std::string{request.arguments[1]} + " ms"; };
    if (request.name == "acquire") {
        return "acquire: " + token + " for " + ttl() + ", proposes fencing token " +
               names.fence(request.number(3));
    }
    if (request.name == "commit") return "commit: fencing token " + names.fence(request.number(2));
    if (request.name == "extend") return "extend: " + token + " to " + ttl();
    if (request.name == "put back") return "put back: " + token + " for " + ttl();
    if (request.name == "release") return "release: " + token;
    if (request.name == "enlist") return "enter the queue";
    if (request.name == "delist") return "leave the queue";
    return std::string{request.name};
}

/// The value at a resource's key.
[[nodiscard]] inline std::string state_of(std::string_view resource, SimNode& node, ShortNames& names) {
    ModelStore& store = node.redis().store();
    const ModelStore::Entry* key = store.find(resource);
    if (key == nullptr) return "no key is there";
    return names.token(key->value) + " is there for " + std::to_string(store.pttl(resource)) + " ms more";
}

/// What a node did with a request of a client.
[[nodiscard]] inline std::string effect_of(const Request& request, std::uint32_t client, SimNode& node,
                                           const ModelReply& reply, ShortNames& names) {
    if (reply.kind == ModelReply::Kind::error) return "refuses: " + reply.text;
    const bool is_list = reply.kind == ModelReply::Kind::array;
    const std::int64_t verdict = is_list ? reply.elements.front() : reply.integer;
    const bool is_yes = verdict > 0;
    const std::string state = state_of(request.resource, node, names);
    const std::string left = std::to_string(node.redis().store().pttl(request.resource)) + " ms";
    const std::string who = ShortNames::client(client);
    if (request.name == "delist") return "takes " + who + " out of the queue";
    if (request.name == "enlist") {
        if (!is_yes) return "queues nobody: " + state;
        return "queues " + who + ", " + std::to_string(reply.elements[2]) + " before it; " + state;
    }
    const std::string token = names.token(request.token);
    if (request.name == "release") {
        if (!is_yes) return "deletes nothing: " + state;
        return "deletes " + token + (verdict == 2 ? ", notifies the first in the queue" : "");
    }
    if (!is_yes) return (verdict == 0 ? "denies: " : "") + state;
    if (request.name == "acquire") {
        return "stores " + token + " for " + left + ", counter " + names.fence(reply.elements[1]);
    }
    if (request.name == "commit") return "sets the counter to " + names.fence(request.number(2));
    return (request.name == "extend" ? "keeps " : "stores ") + token + " for " + left;
}

/// The vote that a client reads in a reply; empty: the reply is no vote.
[[nodiscard]] inline std::string vote_of(const Request& request, const ModelReply& reply,
                                         const ShortNames& names) {
    if (reply.kind == ModelReply::Kind::error) return "refused";
    const bool is_list = reply.kind == ModelReply::Kind::array;
    const std::int64_t verdict = is_list ? reply.elements.front() : reply.integer;
    const bool is_yes = verdict > 0;
    if (verdict == -1) return "absent";
    if (request.name == "acquire" && is_yes) return "granted, counter " + names.fence(reply.elements[1]);
    if (request.name == "extend") return is_yes ? "extended" : "denied";
    if (request.name == "put back") return is_yes ? "put back" : "denied";
    if (request.name == "commit") return is_yes ? "committed" : "denied";
    if (request.name == "release") return is_yes ? "released" : "";
    if (request.name == "enlist") return is_yes ? "queued" : "free by now";
    return request.name == "delist" ? "" : "denied";
}

}  // namespace redlock::sim
