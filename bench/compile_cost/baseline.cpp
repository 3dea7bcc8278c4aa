// SPDX-License-Identifier: Apache-2.0
// The headers that a user of locks includes anyway, with hiredis. All costs are ratios to this file's cost.
#include <hiredis/hiredis.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

int main() { return 0; }
