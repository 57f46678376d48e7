/* TLS for network.py: the bare echo server that is the limit, the client that drives all servers, and their certificate.
 *
 *     tls_echo certificate FILE                        a new P-256 key and a certificate of its own, as PEM
 *     tls_echo serve FILE                              prints its port, and echoes until its standard input ends
 *     tls_echo drive PORT CONNECTIONS SIZE SECONDS     each connection has one message on its way
 *     tls_echo shake PORT FULL-OR-RESUMED SECONDS      one handshake after the other, each with a message of one byte
 *     tls_echo hold PORT CONNECTIONS                   one byte on each, says so, and holds them until its standard input ends
 *
 * `drive` and `shake` print how many messages (or handshakes) there were, and in how many seconds.  TLS 1.3, OpenSSL on the socket
 * itself, epoll, and nothing else.  Contents are not compared, lengths are.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024, MOST_EVENTS = 256 };

typedef struct {
    SSL *tls;
    int fd, shaken, watching_writes;
    size_t sent, received, pending; /* pending: bytes of an echo that are not written yet */
    unsigned char *echo;
} Connection;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void write_certificate(const char *path) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    FILE *file = fopen(path, "w");
    if (!key || !certificate || !file) fail(path);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 10 * 24 * 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    if (!X509_sign(certificate, key, EVP_sha256())) fail("sign");
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    PEM_write_X509(file, certificate);
    fclose(file);
}

static void set_up(int fd) {
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void watch(int poller, int operation, Connection *connection, int writes) {
    struct epoll_event event = {.events = EPOLLIN | (writes ? EPOLLOUT : 0), .data.ptr = connection};
    if (epoll_ctl(poller, operation, connection->fd, &event)) fail("epoll_ctl");
    connection->watching_writes = writes;
}

/* Whether a call of OpenSSL is to be made again later; otherwise the connection is over. */
static int is_again(SSL *tls, int result) {
    int error = SSL_get_error(tls, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

/* Echoes what there is; 0 when the connection is over. */
static int serve_one(int poller, Connection *connection, unsigned char *buffer) {
    SSL *tls = connection->tls;
    for (;;) {
        if (connection->pending) {
            size_t written = 0;
            int result = SSL_write_ex(tls, connection->echo, connection->pending, &written);
            if (!result) {
                if (!is_again(tls, result)) return 0;
                if (!connection->watching_writes) watch(poller, EPOLL_CTL_MOD, connection, 1);
                return 1;
            }
            connection->pending = 0;
            if (connection->watching_writes) watch(poller, EPOLL_CTL_MOD, connection, 0);
        }
        size_t total = 0, count = 0;
        int result = 1;
        while (total < BUFFER && (result = SSL_read_ex(tls, buffer + total, BUFFER - total, &count))) total += count;
        int go_on = result || is_again(tls, result);
        if (total) {
            size_t written = 0;
            int sent = SSL_write_ex(tls, buffer, total, &written);
            if (!sent) {
                if (!is_again(tls, sent)) return 0;
                /* OpenSSL wants the very same bytes again. */
                connection->echo = realloc(connection->echo, BUFFER);
                memcpy(connection->echo, buffer, total);
                connection->pending = total;
                if (!connection->watching_writes) watch(poller, EPOLL_CTL_MOD, connection, 1);
                return 1;
            }
        }
        if (!result) return go_on;
    }
}

static void serve(const char *path) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (SSL_CTX_use_certificate_chain_file(context, path) != 1) fail(path);
    if (SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM) != 1) fail(path);
    int listener = socket(AF_INET, SOCK_STREAM, 0), poller = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024)) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    Connection accepting = {.fd = listener}, input = {.fd = 0};
    watch(poller, EPOLL_CTL_ADD, &accepting, 0);
    watch(poller, EPOLL_CTL_ADD, &input, 0);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    static unsigned char buffer[BUFFER];
    struct epoll_event events[MOST_EVENTS];
    for (;;) {
        int count = epoll_wait(poller, events, MOST_EVENTS, -1);
        for (int at = 0; at < count; at++) {
            Connection *connection = events[at].data.ptr;
            if (connection == &input) return;
            if (connection == &accepting) {
                int fd;
                while ((fd = accept(listener, NULL, NULL)) >= 0) {
                    set_up(fd);
                    connection = calloc(1, sizeof *connection);
                    connection->fd = fd;
                    connection->tls = SSL_new(context);
                    SSL_set_fd(connection->tls, fd);
                    SSL_set_accept_state(connection->tls);
                    watch(poller, EPOLL_CTL_ADD, connection, 0);
                }
                continue;
            }
            ERR_clear_error();
            if (!serve_one(poller, connection, buffer)) {
                SSL_free(connection->tls);
                close(connection->fd);
                free(connection->echo);
                free(connection);
            }
        }
    }
}

static SSL_CTX *client(void) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return context;
}

static SSL *dial(SSL_CTX *context, int port, SSL_SESSION *session) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, fd);
    if (session) SSL_set_session(tls, session);
    if (SSL_connect(tls) != 1) fail("handshake");
    return tls;
}

/* Sends what the kernel takes of the message. */
static void send_rest(Connection *connection, const char *message, size_t size) {
    size_t count;
    while (connection->sent < size) {
        int result = SSL_write_ex(connection->tls, message + connection->sent, size - connection->sent, &count);
        if (!result) {
            if (is_again(connection->tls, result)) return;
            fail("write");
        }
        connection->sent += count;
    }
}

static void drive(int port, int connections, size_t size, double seconds) {
    SSL_CTX *context = client();
    char *message = malloc(size), *buffer = malloc(BUFFER);
    memset(message, 'x', size);
    message[size - 1] = '\n';
    int poller = epoll_create1(0);
    Connection *all = calloc(connections, sizeof *all);
    for (int at = 0; at < connections; at++) {
        all[at].tls = dial(context, port, NULL);
        all[at].fd = SSL_get_fd(all[at].tls);
        set_up(all[at].fd);
        watch(poller, EPOLL_CTL_ADD, &all[at], 0);
    }
    for (int at = 0; at < connections; at++) send_rest(&all[at], message, size);
    struct epoll_event events[MOST_EVENTS];
    unsigned long messages = 0;
    double begun = now();
    while (now() - begun < seconds) {
        int count = epoll_wait(poller, events, MOST_EVENTS, 100);
        for (int at = 0; at < count; at++) {
            Connection *connection = events[at].data.ptr;
            size_t got;
            int result;
            while ((result = SSL_read_ex(connection->tls, buffer, BUFFER, &got))) connection->received += got;
            if (!is_again(connection->tls, result)) fail("the server closed a connection");
            if (connection->received > connection->sent) fail("more came back than was sent");
            if (connection->received == size) {
                messages++;
                connection->sent = connection->received = 0;
            }
            send_rest(connection, message, size);
        }
    }
    printf("%lu %f\n", messages, now() - begun);
}

static SSL_SESSION *kept;

static int keep(SSL *tls, SSL_SESSION *session) {
    (void)tls;
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

static void shake(int port, int resumed, double seconds) {
    SSL_CTX *context = client();
    if (resumed) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT);
        SSL_CTX_sess_set_new_cb(context, keep);
    }
    unsigned long handshakes = 0, reused = 0;
    double begun = now();
    while (now() - begun < seconds) {
        char byte = 'x';
        SSL *tls = dial(context, port, resumed ? kept : NULL);
        reused += SSL_session_reused(tls);
        if (SSL_write(tls, &byte, 1) != 1 || SSL_read(tls, &byte, 1) != 1) fail("echo");
        SSL_shutdown(tls);
        close(SSL_get_fd(tls));
        SSL_free(tls);
        handshakes++;
    }
    if (resumed && reused + 2 < handshakes) fail("the server does not resume");
    printf("%lu %f\n", handshakes, now() - begun);
}

static void hold(int port, int connections) {
    SSL_CTX *context = client();
    for (int at = 0; at < connections; at++) {
        char byte = 'x';
        SSL *tls = dial(context, port, NULL);
        if (SSL_write(tls, &byte, 1) != 1 || SSL_read(tls, &byte, 1) != 1) fail("echo");
    }
    printf("%d held\n", connections);
    fflush(stdout);
    getchar();
}

int main(int count, char **arguments) {
    signal(SIGPIPE, SIG_IGN);
    const char *mode = count > 1 ? arguments[1] : "";
    if (!strcmp(mode, "certificate") && count == 3) write_certificate(arguments[2]);
    else if (!strcmp(mode, "serve") && count == 3) serve(arguments[2]);
    else if (!strcmp(mode, "drive") && count == 6)
        drive(atoi(arguments[2]), atoi(arguments[3]), atol(arguments[4]), atof(arguments[5]));
    else if (!strcmp(mode, "shake") && count == 5)
        shake(atoi(arguments[2]), !strcmp(arguments[3], "resumed"), atof(arguments[4]));
    else if (!strcmp(mode, "hold") && count == 4) hold(atoi(arguments[2]), atoi(arguments[3]));
    else {
        fprintf(stderr, "tls_echo certificate FILE | serve FILE | drive PORT CONNECTIONS SIZE SECONDS | "
                        "shake PORT full|resumed SECONDS | hold PORT CONNECTIONS\n");
        return 2;
    }
    return 0;
}
