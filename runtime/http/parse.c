/* See parse.h. Grammar: RFC 9110, sections 5.5 and 5.6.2, and RFC 9112, sections 2 to 7. */
#include "http/parse.h"

#include <string.h>
#include <strings.h>

#include "base/percent.h"

/* ---- where the head ends ----------------------------------------------------------------------
 */

long md__head_end(const char *text, size_t length, size_t *scanned)
{
    const char *feed;

    while ((feed = memchr(text + *scanned, '\n', length - *scanned)) != NULL) {
        size_t at = (size_t)(feed - text);
        if (at == 0 || text[at - 1] != '\r') {
            return -1;
        }
        if (at >= 3 && text[at - 2] == '\n') {
            return (long)at + 1;
        }
        *scanned = at + 1;
    }
    *scanned = length;
    return 0;
}

/* ---- characters -------------------------------------------------------------------------------
 */

/* 1: may stand in a token; 2: an upper-case letter, which may as well. */
static const unsigned char token_bytes[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
    ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
    ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['a' ... 'z'] = 1, ['A' ... 'Z'] = 2,
};

bool md__is_token_byte(char byte)
{
    return token_bytes[(unsigned char)byte] != 0;
}

static char *skip_token(char *text)
{
    while (md__is_token_byte(*text)) {
        text++;
    }
    return text;
}

/* ---- the request line -------------------------------------------------------------------------
 */

static int refuse(int status, const char *what, struct md_error *err)
{
    md_fail(err, status == 431 ? MD_ERR_TOO_LARGE : MD_ERR_INVALID, "%s", what);
    return status;
}

static int parse_version(const char *text, struct md__head *head, struct md_error *err)
{
    if (strncmp(text, "HTTP/", 5) != 0 || text[5] < '0' || text[5] > '9' || text[6] != '.' ||
        text[7] < '0' || text[7] > '9' || text[8] != '\0') {
        return refuse(400, "the request line has no HTTP version", err);
    }
    if (text[5] != '1') {
        return refuse(505, "this server speaks HTTP/1.1", err);
    }
    head->minor = text[7] == '0' ? 0 : 1;
    return 0;
}

/* "http://host/path" means "/path": which host was asked makes no difference here. */
static char *skip_authority(char *target)
{
    size_t scheme = strncasecmp(target, "http://", 7) == 0    ? 7
                    : strncasecmp(target, "https://", 8) == 0 ? 8
                                                              : 0;
    return scheme == 0 ? target : target + scheme + strcspn(target + scheme, "/?");
}

static int parse_target(char *target, struct md__head *head, struct md_error *err)
{
    char *path, *query;

    for (const char *at = target; *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte <= ' ' || byte >= 0x7F || byte == '#') {
            return refuse(400, "the request target has bytes that no URL has", err);
        }
    }
    path = skip_authority(target);
    query = strchr(path, '?');
    if (query != NULL) {
        *query++ = '\0';
    }
    head->query = query;
    head->path = *path == '\0' && path != target ? "/" : path;
    return *head->path == '\0' ? refuse(400, "the request target is empty", err) : 0;
}

/* line: a C string without its CRLF, `length` bytes. */
static int parse_request_line(char *line, size_t length, struct md__head *head,
                              struct md_error *err)
{
    char *target = skip_token(line), *version;

    if (strlen(line) != length || target == line || *target != ' ') {
        return refuse(400, "the request line is malformed", err);
    }
    *target++ = '\0';
    version = strchr(target, ' ');
    if (version == NULL) {
        return refuse(400, "the request line has no HTTP version", err);
    }
    *version++ = '\0';
    head->method = line;
    int status = parse_version(version, head, err);
    return status != 0 ? status : parse_target(target, head, err);
}

/* ---- fields -----------------------------------------------------------------------------------
 */

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

/* Visible bytes, blanks, and bytes above 0x7F. */
static bool is_field_text(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if ((byte < ' ' && byte != '\t') || byte == 0x7F) {
            return false;
        }
    }
    return true;
}

static int parse_field(char *line, char *end, struct md_header *header, struct md_error *err)
{
    char *colon = line;

    for (; md__is_token_byte(*colon); colon++) {
        *colon = token_bytes[(unsigned char)*colon] == 2 ? (char)(*colon | 0x20) : *colon;
    }
    if (colon == line || *colon != ':') {
        return refuse(400, "a header field is malformed", err);
    }
    *colon++ = '\0';
    while (is_blank(*colon)) {
        colon++;
    }
    while (end > colon && is_blank(end[-1])) {
        end--;
    }
    *end = '\0';
    if (!is_field_text(colon, (size_t)(end - colon))) {
        return refuse(400, "a header field has control characters", err);
    }
    header->name = line;
    header->value = colon;
    return 0;
}

/* Does the comma list contain this token, in any case? */
static bool list_has(const char *list, const char *token)
{
    size_t length = strlen(token);

    while (*list != '\0') {
        size_t item = strcspn(list, ", \t");
        if (item == length && strncasecmp(list, token, length) == 0) {
            return true;
        }
        list += item;
        list += strspn(list, ", \t");
    }
    return false;
}

static void find_keep_alive(struct md__head *head)
{
    bool close = false, keep = false;

    for (int i = 0; i < head->header_count; i++) {
        if (strcmp(head->headers[i].name, "connection") == 0) {
            close = close || list_has(head->headers[i].value, "close");
            keep = keep || list_has(head->headers[i].value, "keep-alive");
        }
    }
    head->keep_alive = !close && (head->minor == 1 || keep);
}

int md__head_parse(char *text, size_t length, struct md__head *head, struct md_error *err)
{
    char *last = text + length - 2, *line = text; /* last: the empty line */
    int status = 0;

    head->header_count = 0;
    for (int i = -1; line < last && status == 0; i++) {
        char *end = memchr(line, '\n', (size_t)(last - line));
        if (i == MD__HEADERS_MAX) {
            return refuse(431, "there are more than 64 header fields", err);
        }
        end--; /* its CR: md__head_end has seen to that */
        *end = '\0';
        if (i < 0) {
            status = parse_request_line(line, (size_t)(end - line), head, err);
        } else {
            status = parse_field(line, end, &head->headers[i], err);
            head->header_count += status == 0; /* a malformed one has no name */
        }
        line = end + 2;
    }
    find_keep_alive(head);
    return status;
}

/* ---- chunked bodies ---------------------------------------------------------------------------
 */

enum {
    SIZE,
    EXTENSION,
    SIZE_FEED,
    DATA,
    DATA_RETURN,
    DATA_FEED,
    TRAILER,
    TRAILER_TEXT,
    TRAILER_FEED,
    LAST_FEED
};
enum { DIGITS_MAX = 15, EXTENSION_BYTES_MAX = 256, TRAILER_BYTES_MAX = 8192 };

static bool in_size(struct md__chunks *chunks, char byte)
{
    int digit = md_hex_digit(byte);

    if (digit >= 0 && chunks->line < DIGITS_MAX) {
        chunks->left = chunks->left * 16 + (size_t)digit;
        chunks->line++;
        return true;
    }
    chunks->state = byte == '\r' ? SIZE_FEED : EXTENSION;
    return chunks->line > 0 && (byte == '\r' || byte == ';');
}

static bool in_extension(struct md__chunks *chunks, char byte)
{
    if (byte == '\r') {
        chunks->state = SIZE_FEED;
        return true;
    }
    return is_field_text(&byte, 1) && ++chunks->line < EXTENSION_BYTES_MAX;
}

static bool in_trailer(struct md__chunks *chunks, char byte)
{
    if (byte == '\r') {
        chunks->state = chunks->state == TRAILER ? LAST_FEED : TRAILER_FEED;
        return true;
    }
    if (chunks->state == TRAILER && !md__is_token_byte(byte)) {
        return false;
    }
    chunks->state = TRAILER_TEXT;
    return is_field_text(&byte, 1) && ++chunks->line < TRAILER_BYTES_MAX;
}

/* One byte that is not data; false: it must not stand here. */
static bool step(struct md__chunks *chunks, char byte)
{
    switch (chunks->state) {
    case SIZE:
        return in_size(chunks, byte);
    case EXTENSION:
        return in_extension(chunks, byte);
    case SIZE_FEED:
        chunks->line = 0;
        chunks->state = chunks->left > 0 ? DATA : TRAILER;
        return byte == '\n';
    case DATA_RETURN:
        chunks->state = DATA_FEED;
        return byte == '\r';
    case DATA_FEED:
        chunks->state = SIZE;
        return byte == '\n';
    case TRAILER_FEED:
        chunks->state = TRAILER;
        return byte == '\n';
    case LAST_FEED:
        chunks->done = true;
        return byte == '\n';
    default:
        return in_trailer(chunks, byte);
    }
}

enum md_status md__chunks_feed(struct md__chunks *chunks, const char *data, size_t length,
                               size_t *used, struct md_buffer *body, size_t bytes_max,
                               struct md_error *err)
{
    size_t at = 0;

    while (at < length && !chunks->done) {
        if (chunks->state == DATA) {
            size_t piece = length - at < chunks->left ? length - at : chunks->left;
            if (chunks->left > bytes_max - body->length) {
                return md_fail(err, MD_ERR_TOO_LARGE,
                               "the body is larger than the limit of %zu bytes", bytes_max);
            }
            md_buffer_append(body, data + at, piece);
            at += piece;
            chunks->left -= piece;
            chunks->state = chunks->left == 0 ? DATA_RETURN : DATA;
        } else if (!step(chunks, data[at++])) {
            return md_fail(err, MD_ERR_INVALID, "the chunked body is malformed");
        }
    }
    *used = at;
    return md_buffer_check(body, err);
}
