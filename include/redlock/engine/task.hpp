// SPDX-License-Identifier: Apache-2.0
// A coroutine that another coroutine awaits, or that somebody starts.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace redlock::inline v0_1::detail {

/// Told when a started task has ended; the last thing that the task does.
struct TaskDone {
    virtual void on_task_done() noexcept = 0;

   protected:
    ~TaskDone() = default;
};

/// What is the same for every type of value, so that each Task<T> adds little for the compiler to do.
class TaskBase {
   public:
    TaskBase(const TaskBase&) = delete;
    TaskBase& operator=(const TaskBase&) = delete;

    /// Runs to the first suspension. `done` lives until it is told.
    void start(TaskDone& done) {
        promise_->done = &done;
        handle_.resume();
    }

    /// A task is its own awaiter: the coroutine that awaits it is resumed when it ends.
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    [[nodiscard]] std::coroutine_handle<> await_suspend(std::coroutine_handle<> continuation) noexcept {
        promise_->continuation = continuation;
        return handle_;
    }

   protected:
    struct Promise {
        std::exception_ptr error;
        std::coroutine_handle<> continuation;
        TaskDone* done = nullptr;

        struct AtEnd {
            const Promise& promise;
            [[nodiscard]] bool await_ready() const noexcept { return false; }
            [[nodiscard]] std::coroutine_handle<> await_suspend(std::coroutine_handle<>) const noexcept {
                if (promise.continuation) return promise.continuation;
                promise.done->on_task_done();  // another thread may destroy the frame from here on
                return std::noop_coroutine();
            }
            void await_resume() const noexcept {}
        };

        [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
        [[nodiscard]] AtEnd final_suspend() const noexcept { return {*this}; }
        void unhandled_exception() noexcept { error = std::current_exception(); }
    };

    TaskBase(std::coroutine_handle<> handle, Promise& promise) noexcept
        : handle_{handle}, promise_{&promise} {}
    TaskBase(TaskBase&& other) noexcept
        : handle_{std::exchange(other.handle_, {})}, promise_{other.promise_} {}
    ~TaskBase() {
        if (handle_) handle_.destroy();
    }

    [[nodiscard]] Promise& ended() const {
        if (promise_->error) std::rethrow_exception(promise_->error);
        return *promise_;
    }

   private:
    std::coroutine_handle<> handle_;
    Promise* promise_;
};

/// Lazy: it runs when it is awaited or started. Its value is taken once, after its end.
template <class T>
class [[nodiscard]] Task : public TaskBase {
   public:
    struct promise_type : Promise {
        std::optional<T> value;

        [[nodiscard]] Task get_return_object() noexcept {
            return Task{std::coroutine_handle<promise_type>::from_promise(*this), *this};
        }
        void return_value(T&& result) { value.emplace(std::move(result)); }
    };

    /// Throws what the coroutine threw.
    [[nodiscard]] T take() { return *std::move(static_cast<promise_type&>(ended()).value); }
    T await_resume() { return take(); }

   private:
    Task(std::coroutine_handle<> handle, Promise& promise) noexcept : TaskBase{handle, promise} {}
};

}  // namespace redlock::inline v0_1::detail
