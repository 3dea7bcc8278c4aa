// SPDX-License-Identifier: Apache-2.0
// A program with units of both kinds: this one uses the compiled library, header_only.cpp does not. Each ends
// a lock that the other took, and what one throws the other catches:  consumer_mixed NODE
#include <redlock/redlock.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>

#include "header_only.hpp"

#ifndef REDLOCK_COMPILED
#error "the target redlock::compiled does not set its macro"
#endif

namespace {

using namespace std::chrono_literals;

void expect(bool is_true, const char* what) {
    if (!is_true) throw std::runtime_error{what};
}

void pass_locks(const std::string& node) {
    redlock::Redlock locks{node};

    auto ours = locks.lock("ours", {.ttl = 30s, .wait = 10s}).value();
    header_only::extend_and_unlock(std::move(ours)).value();
    auto again = locks.try_lock("ours", 30s).value();
    expect(again.owns_lock(), "unlocked by the other unit, it cannot be locked again");

    auto theirs = header_only::acquire(node, "theirs").value();
    expect(locks.try_lock("theirs", 30s).error() == redlock::errc::contended,
           "the lock of the other unit is not held");
    theirs.extend(40s).value();
    theirs.unlock().value();
}

void compare_errors() {
    expect(&redlock::error_category() == &header_only::error_category(), "there are two error categories");
    try {
        header_only::throw_contended();
    } catch (const redlock::Error& error) {
        expect(error.code() == redlock::errc::contended, "the error lost its code");
    }
}

}  // namespace

int main(int argc, char** argv) {
    try {
        expect(argc == 2, "usage: consumer_mixed NODE");
        pass_locks(argv[1]);
        compare_errors();
        return 0;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
