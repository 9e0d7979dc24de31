// The limit that a server can be measured against: a bare epoll loop that knows just enough HTTP
// and WebSocket for `qyun bench`, and delivers with one send() per subscriber and round. It checks
// next to nothing, has no bounds and no timers; it is not a server.
//
//   g++ -O2 -std=c++17 -o limit benches/limit.cpp -lz && ./limit 8001
//
// GET /channel/create/NAME        200
// DELETE /channel/NAME            200
// GET /channel/send/NAME/MESSAGE  200, broadcast as one text frame
// GET /channel/listen/NAME        WebSocket upgrade
//
// To who offers permessage-deflate it compresses, for each subscriber anew, as servers do that have
// a compressor per connection: with zlib at its fastest, and no window to keep.

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace {

struct Channel;

struct Connection {
    explicit Connection(int descriptor) : fd(descriptor) {}
    int fd;
    Channel *channel = nullptr;  // set once it listens
    bool deflate = false;
    std::string in;
    std::string out;  // what the socket did not take
    std::string answers;
};

struct Channel {
    std::vector<Connection *> listeners;
    std::string pending;  // this round's frames
    bool compresses = false;            // somebody offered to
    std::vector<std::string> messages;  // this round's messages, for those
};

int poller;
std::unordered_map<std::string, Channel> channels;
std::vector<Channel *> touched;      // channels with pending frames
std::vector<Connection *> answering; // connections with answers

const char kOk[] =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 52\r\n\r\n"
    "{\"status\":\"success\",\"message\":\"Message broadcasted\"}";

std::string sha1(std::string data) {
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    const uint64_t bits = data.size() * 8;
    data += '\x80';
    while (data.size() % 64 != 56) data += '\0';
    for (int shift = 56; shift >= 0; shift -= 8) data += static_cast<char>(bits >> shift);
    auto rotate = [](uint32_t x, int n) { return x << n | x >> (32 - n); };
    for (size_t block = 0; block < data.size(); block += 64) {
        uint32_t w[80];
        for (int i = 0; i < 16; i++) {
            w[i] = 0;
            for (int j = 0; j < 4; j++)
                w[i] = w[i] << 8 | static_cast<uint8_t>(data[block + i * 4 + j]);
        }
        for (int i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f, k;
            if (i < 20) f = (b & c) | (~b & d), k = 0x5a827999;
            else if (i < 40) f = b ^ c ^ d, k = 0x6ed9eba1;
            else if (i < 60) f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
            else f = b ^ c ^ d, k = 0xca62c1d6;
            const uint32_t t = rotate(a, 5) + f + e + k + w[i];
            e = d, d = c, c = rotate(b, 30), b = a, a = t;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    std::string digest;
    for (uint32_t word : h)
        for (int shift = 24; shift >= 0; shift -= 8) digest += static_cast<char>(word >> shift);
    return digest;
}

std::string base64(const std::string &bytes) {
    static const char kDigits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (size_t i = 0; i < bytes.size(); i += 3) {
        uint32_t group = 0;
        const size_t n = std::min<size_t>(3, bytes.size() - i);
        for (size_t j = 0; j < 3; j++)
            group = group << 8 | (j < n ? static_cast<uint8_t>(bytes[i + j]) : 0);
        for (size_t j = 0; j < 4; j++)
            out += j <= n ? kDigits[group >> (18 - 6 * j) & 63] : '=';
    }
    return out;
}

void watch(Connection *c, int operation, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = c;
    if (epoll_ctl(poller, operation, c->fd, &event) != 0) perror("epoll_ctl"), exit(1);
}

// One send(); what is left waits for the socket.
void write(Connection *c, std::string_view bytes) {
    if (!c->out.empty()) {
        c->out.append(bytes);
        return;
    }
    const ssize_t sent = send(c->fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(bytes.size())) return;
    if (sent < 0 && errno != EAGAIN) return;  // reading will tell
    c->out.append(bytes.substr(sent < 0 ? 0 : sent));
    watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

void frame(std::string &out, std::string_view payload, char first = '\x81') {
    const size_t n = payload.size();
    out += first;
    if (n < 126) {
        out += static_cast<char>(n);
    } else if (n < 65536) {
        out += '\x7e';
        out += static_cast<char>(n >> 8);
        out += static_cast<char>(n);
    } else {
        out += '\x7f';
        for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(uint64_t(n) >> shift);
    }
    out.append(payload);
}

// Appends a compressed frame (RFC 7692).
void deflated(std::string &out, const std::string &message) {
    static z_stream stream = [] {
        z_stream fresh{};
        if (deflateInit2(&fresh, Z_BEST_SPEED, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
            fprintf(stderr, "deflateInit2 failed\n"), exit(1);
        return fresh;
    }();
    static std::string payload;
    deflateReset(&stream);
    payload.resize(deflateBound(&stream, message.size()) + 16);
    stream.next_in = reinterpret_cast<Bytef *>(const_cast<char *>(message.data()));
    stream.avail_in = static_cast<uInt>(message.size());
    stream.next_out = reinterpret_cast<Bytef *>(payload.data());
    stream.avail_out = static_cast<uInt>(payload.size());
    deflate(&stream, Z_SYNC_FLUSH);
    const size_t size = payload.size() - stream.avail_out - 4;
    frame(out, {payload.data(), size}, '\xc1');
}

void answer(Connection *c, std::string_view text) {
    if (c->answers.empty()) answering.push_back(c);
    c->answers.append(text);
}

bool strip(std::string_view &text, std::string_view prefix) {
    if (text.substr(0, prefix.size()) != prefix) return false;
    text.remove_prefix(prefix.size());
    return true;
}

void request(Connection *c, std::string_view head) {
    std::string_view line = head.substr(0, head.find("\r\n"));
    line = line.substr(0, line.rfind(' '));
    if (strip(line, "GET /channel/send/")) {
        const size_t slash = line.find('/');
        if (slash == std::string_view::npos) return;
        Channel &channel = channels[std::string(line.substr(0, slash))];
        if (channel.pending.empty()) touched.push_back(&channel);
        frame(channel.pending, line.substr(slash + 1));
        if (channel.compresses) channel.messages.emplace_back(line.substr(slash + 1));
    } else if (strip(line, "GET /channel/listen/")) {
        static const char kName[] = "Sec-WebSocket-Key: ";
        size_t at = head.find(kName);
        if (at == std::string_view::npos) return;
        at += sizeof kName - 1;
        const std::string key(head.substr(at, head.find("\r\n", at) - at));
        c->channel = &channels[std::string(line)];
        c->channel->listeners.push_back(c);
        c->deflate = head.find("permessage-deflate") != std::string_view::npos;
        c->channel->compresses |= c->deflate;
        write(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
                 "sec-websocket-accept: " +
                     base64(sha1(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) +
                     (c->deflate ? "\r\nsec-websocket-extensions: permessage-deflate; "
                                   "server_no_context_takeover; client_no_context_takeover"
                                 : "") +
                     "\r\n\r\n");
        return;
    }
    answer(c, {kOk, sizeof kOk - 1});
}

void end(Connection *c) {
    if (c->channel) {
        auto &all = c->channel->listeners;
        all.erase(std::find(all.begin(), all.end(), c));
    }
    answering.erase(std::remove(answering.begin(), answering.end(), c), answering.end());
    close(c->fd);
    delete c;
}

void readable(Connection *c) {
    static char buffer[256 << 10];
    const ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return end(c);
    if (c->channel) return;  // what a listener sends is ignored
    std::string_view data(buffer, n);
    if (!c->in.empty()) {
        c->in.append(data);
        data = c->in;
    }
    for (;;) {
        const size_t head = data.find("\r\n\r\n");
        if (head == std::string_view::npos) break;
        request(c, data.substr(0, head + 4));
        data.remove_prefix(head + 4);
    }
    c->in = std::string(data);
}

void writable(Connection *c) {
    const ssize_t sent = send(c->fd, c->out.data(), c->out.size(), MSG_NOSIGNAL);
    if (sent > 0) c->out.erase(0, sent);
    if (c->out.empty()) watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

}  // namespace

int main(int argc, char **argv) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(argc > 1 ? static_cast<uint16_t>(atoi(argv[1])) : 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0 ||
        listen(listener, 4096) != 0)
        return perror("listening"), 1;
    socklen_t length = sizeof address;
    getsockname(listener, reinterpret_cast<sockaddr *>(&address), &length);
    printf("{\"address\":\"127.0.0.1:%d\",\"pid\":%d}\n", ntohs(address.sin_port), getpid());
    fflush(stdout);

    poller = epoll_create1(EPOLL_CLOEXEC);
    Connection listening{listener};
    watch(&listening, EPOLL_CTL_ADD, EPOLLIN);
    std::vector<epoll_event> events(1024);
    for (;;) {
        const int n = epoll_wait(poller, events.data(), static_cast<int>(events.size()), -1);
        for (int i = 0; i < n; i++) {
            auto *c = static_cast<Connection *>(events[i].data.ptr);
            if (c->fd == listener) {
                int fd;
                while ((fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    watch(new Connection{fd}, EPOLL_CTL_ADD, EPOLLIN);
                }
                continue;
            }
            if (events[i].events & EPOLLOUT) writable(c);
            if (events[i].events & ~EPOLLOUT) readable(c);
        }
        // Deliver first, answer later.
        for (Channel *channel : touched) {
            for (Connection *c : channel->listeners) {
                if (!c->deflate) {
                    write(c, channel->pending);
                    continue;
                }
                std::string frames;
                for (const std::string &message : channel->messages) deflated(frames, message);
                write(c, frames);
            }
            channel->pending.clear();
            channel->messages.clear();
        }
        touched.clear();
        for (Connection *c : answering) {
            write(c, c->answers);
            c->answers.clear();
        }
        answering.clear();
    }
}
