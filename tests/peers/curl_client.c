/* Sends what stdin says, one line of "text HEX" each, by GET with libcurl, and prints the status of
 * each. One handle, so that the connection is kept; the number of connections is the last line.
 *
 *   curl_client http://HOST:PORT/channel/send/NAME/
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 1 << 17 };

static char line[16 + 2 * LONGEST];
static char message[LONGEST];

static size_t ignore(char *data, size_t size, size_t count, void *user)
{
    (void)data;
    (void)user;
    return size * count;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    CURL *curl = curl_easy_init();
    if (curl == NULL)
        return 1;
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    long connections = 0;
    while (fgets(line, sizeof line, stdin) != NULL) {
        const char *hex = strchr(line, ' ') + 1;
        int length = 0;
        unsigned byte;
        for (; length < LONGEST && sscanf(hex, "%2x", &byte) == 1; hex += 2)
            message[length++] = (char)byte;
        /* A length of 0 would mean strlen. */
        char *escaped = length ? curl_easy_escape(curl, message, length) : NULL;
        size_t size = strlen(argv[1]) + (escaped ? strlen(escaped) : 0) + 1;
        char *url = malloc(size);
        if (url == NULL)
            return 1;
        snprintf(url, size, "%s%s", argv[1], escaped ? escaped : "");
        curl_easy_setopt(curl, CURLOPT_URL, url);
        CURLcode code = curl_easy_perform(curl);
        if (code != CURLE_OK) {
            fprintf(stderr, "%s: %s\n", url, curl_easy_strerror(code));
            return 1;
        }
        long status = 0, fresh = 0;
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &fresh);
        connections += fresh;
        printf("%ld\n", status);
        curl_free(escaped);
        free(url);
    }
    printf("connections %ld\n", connections);
    curl_easy_cleanup(curl);
    return 0;
}
