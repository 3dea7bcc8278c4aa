// SPDX-License-Identifier: Apache-2.0
// Bytes become replies, by the parser of hiredis, within bounds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "redlock/hiredis/api.hpp"
#include "redlock/version.hpp"

namespace redlock::inline v0_1::hiredis {

/// How many elements one reply may have, those of nested arrays included. hiredis allocates an array as soon
/// as it has read its header, which would delay the driver.
struct ElementBudget {
    static constexpr std::size_t most = 8192;  // 1,024 resources with all that is told of each
    std::size_t left = most;
    bool is_exceeded = false;
};

/// The functions of hiredis, but for an array beyond the budget that the reader's privdata points at.
class LimitedReplies {
   public:
    static void use(redisReader& reader, ElementBudget& budget) {
        static LimitedReplies limited{*reader.fn};
        reader.privdata = &budget;
        reader.fn = &limited.functions_;
    }

   private:
    explicit LimitedReplies(const redisReplyObjectFunctions& defaults) : functions_{defaults} {
        default_create_array = defaults.createArray;
        functions_.createArray = &create_array;
    }

    /// The count is an int in hiredis 0.14 and a size_t in 1.x. No object: the reader stops with an error.
    template <class Count>
    static void* create_array(const redisReadTask* task, Count count) {
        auto& budget = *static_cast<ElementBudget*>(task->privdata);
        const auto wanted = static_cast<std::size_t>(std::max(count, Count{0}));
        budget.is_exceeded = wanted > budget.left;
        if (budget.is_exceeded) return nullptr;
        budget.left -= wanted;
        return default_create_array(task, count);
    }

    inline static decltype(redisReplyObjectFunctions::createArray) default_create_array = nullptr;
    redisReplyObjectFunctions functions_;
};

class ReplyReader {
   public:
    enum class Next : std::uint8_t { reply, none, rubbish };

    ReplyReader() {
        if (reader_) LimitedReplies::use(*reader_, *budget_);
    }

    /// False: there was no memory for it.
    [[nodiscard]] bool is_usable() const noexcept { return reader_ != nullptr; }

    /// Where there is no memory for them, next() says so.
    void feed(std::string_view bytes) {
        redisReaderFeed(reader_.get(), bytes.data(), bytes.size());
        unfinished_reply_ += bytes.size();
    }

    /// The next reply of what was fed. Where that is none, `error` says what it is.
    [[nodiscard]] Next next(ReplyPtr& reply, std::string& error) {
        void* raw = nullptr;
        if (redisReaderGetReply(reader_.get(), &raw) != REDIS_OK) {
            error = budget_->is_exceeded            ? "not Redis: an array of too many elements"
                    : reader_->err == REDIS_ERR_OOM ? "out of memory"
                                                    : std::string{"not Redis: "} + reader_->errstr;
            return Next::rubbish;
        }
        if (raw == nullptr && unfinished_reply_ > reply_max) {
            error = "not Redis: a reply without an end";
            return Next::rubbish;
        }
        if (raw == nullptr) return Next::none;
        reply.reset(static_cast<redisReply*>(raw));
        unfinished_reply_ = 0;
        budget_->left = ElementBudget::most;
        return Next::reply;
    }

   private:
    struct FreeReader {
        void operator()(redisReader* reader) const noexcept { redisReaderFree(reader); }
    };

    static constexpr std::size_t reply_max = std::size_t{1} << 20U;  // a call has a name, of 64 KiB at most

    std::unique_ptr<ElementBudget> budget_ = std::make_unique<ElementBudget>();  // outlives the reader
    std::unique_ptr<redisReader, FreeReader> reader_{redisReaderCreate()};
    std::size_t unfinished_reply_ = 0;  ///< bytes at most
};

}  // namespace redlock::inline v0_1::hiredis
