// SPDX-License-Identifier: Apache-2.0
// The few POSIX wrappers that the test support shares: owned descriptors, a temporary directory, errors.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

namespace redlock::test {

[[noreturn]] inline void throw_errno(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

// Owns one descriptor.
class FileDescriptor {
   public:
    FileDescriptor() = default;
    explicit FileDescriptor(int fd) noexcept : fd_(fd) {}
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept {
        if (this != &other) {
            reset();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    ~FileDescriptor() { reset(); }

    [[nodiscard]] int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    void reset() noexcept {
        if (fd_ >= 0) ::close(fd_);
        fd_ = -1;
    }

   private:
    int fd_ = -1;
};

// A descriptor that another thread can make readable, to wake a poll().
class WakeUp {
   public:
    WakeUp() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (!event_) throw_errno("eventfd");
    }
    [[nodiscard]] int fd() const noexcept { return event_.get(); }
    void notify() const noexcept {
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof one);
    }
    void drain() const noexcept {
        std::uint64_t count = 0;
        [[maybe_unused]] const auto got = ::read(event_.get(), &count, sizeof count);
    }

   private:
    FileDescriptor event_;
};

// A fresh directory, removed with all it holds by the process that made it (not by a forked child).
class TemporaryDirectory {
   public:
    TemporaryDirectory() : path_(make()), owner_(::getpid()) {}
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory() {
        if (owner_ != ::getpid()) return;
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
    [[nodiscard]] std::string file(const char* name) const { return (path_ / name).string(); }

    // Removes the contents and keeps the directory.
    void clear() const {
        for (const auto& entry : std::filesystem::directory_iterator(path_)) {
            std::filesystem::remove_all(entry.path());
        }
    }

   private:
    static std::filesystem::path make() {
        // A unix socket's path must fit in 107 bytes, so a long TMPDIR cannot be used here.
        constexpr std::size_t longest_parent = 70;
        const char* parent = ::getenv("TMPDIR");
        std::string name = parent != nullptr && *parent != '\0' ? parent : "/tmp";
        if (name.size() > longest_parent) name = "/tmp";
        name += "/redlock-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) throw_errno("mkdtemp " + name);
        return name;
    }

    std::filesystem::path path_;
    pid_t owner_;
};

}  // namespace redlock::test
