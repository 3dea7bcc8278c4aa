// SPDX-License-Identifier: Apache-2.0
// A coroutine that is awaited by another, or started by whoever drives it.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace redlock::inline v0_1::detail {

/// Told when a started task has come to its end; the last thing the task does.
struct TaskDone {
    virtual void on_task_done() noexcept = 0;

   protected:
    ~TaskDone() = default;
};

/// Lazy: it runs when it is awaited or started. Its value is read once, after its end.
template <class T>
class [[nodiscard]] Task {
   public:
    struct promise_type {
        std::optional<T> value;
        std::exception_ptr error;
        std::coroutine_handle<> awaiting;
        TaskDone* done = nullptr;

        Task get_return_object() noexcept { return Task{Handle::from_promise(*this)}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        void unhandled_exception() noexcept { error = std::current_exception(); }
        template <class U>
        void return_value(U&& result) {
            value.emplace(std::forward<U>(result));
        }

        struct Final {
            bool await_ready() noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept {
                const promise_type& promise = self.promise();
                if (promise.awaiting) return promise.awaiting;
                promise.done->on_task_done();  // may end the frame's life
                return std::noop_coroutine();
            }
            void await_resume() noexcept {}
        };
        Final final_suspend() noexcept { return {}; }
    };

    Task(Task&& other) noexcept : handle_{std::exchange(other.handle_, {})} {}
    Task(const Task&) = delete;
    Task& operator=(Task&&) = delete;
    Task& operator=(const Task&) = delete;
    ~Task() {
        if (handle_) handle_.destroy();
    }

    void start(TaskDone& done) {
        handle_.promise().done = &done;
        handle_.resume();
    }

    [[nodiscard]] T take() {
        promise_type& promise = handle_.promise();
        if (promise.error) std::rethrow_exception(promise.error);
        return *std::move(promise.value);
    }

    auto operator co_await() noexcept {
        struct Awaiter {
            std::coroutine_handle<promise_type> handle;
            bool await_ready() noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) noexcept {
                handle.promise().awaiting = awaiting;
                return handle;
            }
            T await_resume() {
                if (handle.promise().error) std::rethrow_exception(handle.promise().error);
                return *std::move(handle.promise().value);
            }
        };
        return Awaiter{handle_};
    }

   private:
    using Handle = std::coroutine_handle<promise_type>;
    explicit Task(Handle handle) noexcept : handle_{handle} {}
    Handle handle_;
};

}  // namespace redlock::inline v0_1::detail
