// SPDX-License-Identifier: Apache-2.0
// What coroutines await of the engine.
#pragma once

#include <coroutine>
#include <exception>
#include <utility>

#include "redlock/engine/call.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/system/ref.hpp"

namespace redlock::inline v0_1::detail {

/// Hands in what the coroutine is suspended on; the driver resumes it.
template <class Loop>
struct Awaitable {
    Loop& loop;
    typename Loop::SuspendedPtr suspended;

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> continuation) {
        suspended->continuation = continuation;
        try {
            loop.submit(typename Loop::SuspendedPtr{suspended});  // another thread may destroy this frame
        } catch (...) {
            suspended->continuation = {};  // the coroutine goes on by itself: nobody else may resume it
            throw;
        }
    }
    Verdict await_resume() const noexcept { return suspended->verdict; }
};

/// Has the call's own thread do something outside of the engine, then resumes in a driver's turn. Without a
/// call it is done at once. Throws what the work threw.
template <class Loop, class Work>
class OnCaller final : private Errand {
   public:
    OnCaller(Loop& loop, Call* call, Work work) : loop_{loop}, call_{call}, work_{std::move(work)} {}

    [[nodiscard]] bool await_ready() noexcept {
        if (call_ == nullptr) work();
        return call_ == nullptr;
    }
    void await_suspend(std::coroutine_handle<> continuation) {
        suspended_->continuation = continuation;
        suspended_->call = call_;
        loop_.hand_back(*call_, *this);  // from here on this frame is the other thread's
    }
    void await_resume() const {
        if (error_) std::rethrow_exception(error_);
    }

   private:
    void run() noexcept override {
        work();
        loop_.submit(typename Loop::SuspendedPtr{suspended_});
    }
    void work() noexcept {
        try {
            work_();
        } catch (...) {
            error_ = std::current_exception();
        }
    }

    Loop& loop_;
    Call* call_;
    Work work_;
    typename Loop::SuspendedPtr suspended_ =
        make_ref<Suspended<typename Loop::TimePoint>>(typename Loop::TimePoint{}, SuspendedBase::Kind::turn);
    std::exception_ptr error_;
};

}  // namespace redlock::inline v0_1::detail
