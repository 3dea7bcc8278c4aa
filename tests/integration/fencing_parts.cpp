// SPDX-License-Identifier: Apache-2.0
#include "integration/fencing_parts.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/custom.hpp"
#include "redlock/hiredis/transport.hpp"
#include "redlock/voting/scripts.hpp"

namespace redlock::test {

class WatchedTransport : public hiredis::Transport {
   public:
    WatchedTransport(const std::vector<std::string>& uris, const Options& options,
                     std::shared_ptr<SentRequests> sent)
        : hiredis::Transport{Endpoints{uris}.list(), options}, sent_{std::move(sent)} {}

    core::Sent send(std::size_t node, std::string_view request) {
        const bool is_commit = runs(request, core::commit_script);
        if (is_commit && sent_->before_commit) std::exchange(sent_->before_commit, nullptr)();
        const core::Sent sent = hiredis::Transport::send(node, request);
        if (sent != core::Sent::accepted) return sent;
        if (is_commit) ++sent_->commits;
        if (runs(request, core::fenced_acquire_script)) ++sent_->acquires;
        return sent;
    }

   private:
    static bool runs(std::string_view request, const core::Script& script) {
        return request.find(core::sha1_of(script)) != std::string_view::npos ||
               request.find(script.text) != std::string_view::npos;
    }

    std::shared_ptr<SentRequests> sent_;
};

void teach(Cluster& nodes) {
    for (auto& node : nodes) {
        if (!node.reachable()) continue;
        for (const core::Script& script : {core::fenced_acquire_script, core::acquire_script,
                                           core::commit_script, core::extend_script, core::release_script}) {
            node.query({"SCRIPT", "LOAD", std::string{script.text}});
        }
    }
}

Watched::Watched(const std::vector<std::string>& uris, const Options& options,
                 std::chrono::microseconds clock_error)
    : locks{std::make_unique<WatchedTransport>(uris, options, sent), options, SteeredClock{clock_error}} {}

Judgement judge(const std::vector<Acquisition>& history) {
    Judgement judgement{history.size(), 0, 0};
    std::vector<std::uint64_t> tokens;
    std::vector<const Acquisition*> by_begin;
    std::vector<const Acquisition*> by_end;
    for (const Acquisition& one : history) {
        tokens.push_back(one.token);
        by_begin.push_back(&one);
        by_end.push_back(&one);
    }
    std::sort(tokens.begin(), tokens.end());
    for (std::size_t i = 1; i < tokens.size(); ++i)
        judgement.duplicates += tokens[i] == tokens[i - 1] ? 1 : 0;
    std::sort(by_begin.begin(), by_begin.end(), [](auto* a, auto* b) { return a->began < b->began; });
    std::sort(by_end.begin(), by_end.end(), [](auto* a, auto* b) { return a->ended < b->ended; });
    std::uint64_t largest_ended = 0;
    auto ended = by_end.begin();
    for (const Acquisition* one : by_begin) {
        for (; ended != by_end.end() && (*ended)->ended < one->began; ++ended) {
            largest_ended = std::max(largest_ended, (*ended)->token);
        }
        judgement.order_errors += one->token <= largest_ended ? 1 : 0;
    }
    return judgement;
}

}  // namespace redlock::test

template class redlock::BasicRedlock<redlock::test::WatchedTransport, redlock::test::SteeredClock>;
template class redlock::BasicLock<redlock::test::WatchedTransport, redlock::test::SteeredClock>;
