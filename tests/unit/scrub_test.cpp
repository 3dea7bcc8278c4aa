// SPDX-License-Identifier: Apache-2.0
// R31: the text of a server is shown without our own arguments.
#include "redlock/text/scrub.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace redlock::detail {
namespace {

using Secrets = std::vector<std::string_view>;

[[nodiscard]] std::string without(const Secrets& secrets, std::string_view words) {
    return scrubbed(words, secrets);
}

TEST(Scrub, what_names_no_secret_is_left_as_it_is) {
    EXPECT_EQ(without({"hunter2"}, "READONLY You can't write against a read only replica."),
              "READONLY You can't write against a read only replica.");
    EXPECT_EQ(without({}, "OOM command not allowed"), "OOM command not allowed");
    EXPECT_EQ(without({""}, "ERR"), "ERR");
    EXPECT_EQ(without({"hunter2"}, ""), "");
}

TEST(Scrub, a_list_of_arguments_is_cut_off) {
    EXPECT_EQ(without({}, "ERR unknown command 'AUTH', with args beginning with: 'alice' 'hunter2' "),
              "ERR unknown command 'AUTH'");
    EXPECT_EQ(without({}, "ERR unknown command `AUTH`, with args beginning with: `alice`, `hunter2`, "),
              "ERR unknown command `AUTH`");
    EXPECT_EQ(without({}, "ERR unknown command 'AUTH' with args beginning with: 'x'"),
              "ERR unknown command 'AUTH' ");
}

TEST(Scrub, a_secret_is_hidden_wherever_it_stands) {
    EXPECT_EQ(without({"hunter2"}, "ERR no hunter2, no xhunter2x"), "ERR no ***, no x***x");
    EXPECT_EQ(without({"alice", "hunter2"}, "alice:hunter2"), "***:***");
    EXPECT_EQ(without({"hunt"}, "hunt"), "***");
    EXPECT_EQ(without({"abcdef", "defghi"}, "-abcdefghi-"), "-***-") << "they share some letters";
    EXPECT_EQ(without({"ab, with args c"}, "ERR ab, with args c"), "ERR ***");
}

TEST(Scrub, a_short_secret_is_hidden_where_it_stands_alone) {
    EXPECT_EQ(without({"or"}, "ERR or 'or' (or) error for or"), "ERR *** '***' (***) error for ***");
    EXPECT_EQ(without({"a"}, "an array: a"), "an array: ***");
    EXPECT_EQ(without({"x:1"}, "the key x:1 and x:12"), "the key *** and x:12");
}

TEST(Scrub, the_beginning_of_a_secret_is_hidden_too) {
    const std::string_view token = "0123456789abcdef0123456789abcdef01234567";
    EXPECT_EQ(without({token}, "ERR bad '0123456789abcdef...'"), "ERR bad '***...'");
    EXPECT_EQ(without({token}, "ERR bad 01234567"), "ERR bad ***");
    EXPECT_EQ(without({token}, "ERR bad 0123456"), "ERR bad 0123456");
    const std::string huge(300, 'k');
    EXPECT_EQ(without({huge}, "ERR '" + std::string(128, 'k') + "' is no key"), "ERR '***' is no key");
}

TEST(Scrub, quotes_and_what_is_not_printable_are_known_in_the_forms_that_servers_write) {
    EXPECT_EQ(without({R"(hun"ter'2)"}, R"(ERR 'hun"ter'2')"), "ERR '***'");
    EXPECT_EQ(without({R"(hun"ter'2)"}, R"(ERR "hun\"ter'2")"), R"(ERR "***")");
    EXPECT_EQ(without({R"(hun"ter'2)"}, R"(ERR 'hun"ter\'2')"), "ERR '***'");
    EXPECT_EQ(without({R"(hun\ter)"}, R"(ERR hun\ter "hun\\ter")"), R"(ERR *** "***")");
    EXPECT_EQ(without({"hun\r\nter"}, "ERR hun  ter"), "ERR ***");
    EXPECT_EQ(without({"hun\r\nter"}, R"(ERR hun\r\nter)"), "ERR ***");
    EXPECT_EQ(without({"hun\x01ter"}, R"(ERR hun\x01ter, hun.ter, hun?ter, hun!ter)"),
              "ERR ***, ***, ***, hun!ter");
    EXPECT_EQ(without({"p\xC3\xA4ss"}, R"(ERR p\xc3\xa4ss, p\xC3\xA4ss, p??ss)"), "ERR ***, ***, ***");
}

TEST(Scrub, a_secret_with_a_nul_is_known_by_what_stands_before_it) {
    const std::string_view secret{"hunter\0two", 10};
    EXPECT_EQ(without({secret}, "ERR 'hunter' is wrong"), "ERR '***' is wrong");
    EXPECT_EQ(without({std::string_view{"a\0b", 3}}, "ERR a bad array"), "ERR *** bad array");
    EXPECT_EQ(without({std::string_view{"\0b", 2}}, "ERR a bad array"), "ERR a bad array");
}

TEST(Scrub, what_is_shown_is_bounded) {
    EXPECT_EQ(without({}, std::string(300, 'x')), std::string(256, 'x'));
    EXPECT_EQ(without({}, std::string(255, 'x') + "\xC3\xA4"), std::string(255, 'x'));
    EXPECT_EQ(without({}, std::string(254, 'x') + "\xC3\xA4"), std::string(254, 'x') + "\xC3\xA4");
    const std::string huge(1'000'000, 'k');
    EXPECT_EQ(without({huge}, "ERR " + huge), "ERR ***");
    EXPECT_EQ(without({std::string_view{huge}.substr(0, 100)}, huge).find('k'), std::string::npos);
    EXPECT_LE(without({"yy"}, huge).size(), 256U);
}

// The server's text may have been cut in the middle of a secret.
TEST(Scrub, no_part_of_a_secret_is_shown_at_the_end_of_what_is_read) {
    const std::string filler(300, 'k');
    for (std::size_t size = 990; size < 1030; ++size) {
        std::string words;
        while (words.size() + filler.size() < size) words += filler;
        words += std::string(size - words.size(), 'k') + " hunter2 and so on";
        EXPECT_EQ(without({filler, std::string_view{filler}.substr(0, 8), "hunter2"}, words).find("hun"),
                  std::string::npos)
            << size;
    }
}

}  // namespace
}  // namespace redlock::detail
