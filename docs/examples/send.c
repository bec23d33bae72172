/* Sends an event as a device would, with libcurl: one id for all tries, so that a lost answer is no
 * duplicate; bounded tries, bounded memory, and the pause that the server asks for.
 *
 *     cc -std=c11 -Wall -Wextra -Werror -D_DEFAULT_SOURCE docs/examples/send.c -lcurl -o send
 *     EVENTS_URL=http://127.0.0.1:8080 EVENTS_CREDENTIAL=KEY:SECRET ./send
 *
 * A device keeps unsent events in flash, oldest first, and drops the oldest when that is full: it knows
 * best what is worth keeping. Its clock may be wrong: say so with "sentat" (docs/api.md). */

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TRIES = 6, ANSWER_MAX = 4096, URL_MAX = 512, EVENT_MAX = 1024, UUID_LENGTH = 36 };

enum outcome { ACCEPTED, AGAIN, REFUSED };

struct answer {
  char bytes[ANSWER_MAX];
  size_t length;
};

/* Keeps the beginning of the answer, which is enough to log, and takes the rest in silence. */
static size_t keep(char *bytes, size_t size, size_t count, void *into) {
  struct answer *answer = into;
  size_t room = ANSWER_MAX - 1 - answer->length;
  size_t taken = size * count < room ? size * count : room;
  memcpy(answer->bytes + answer->length, bytes, taken);
  answer->length += taken;
  answer->bytes[answer->length] = '\0';
  return size * count;
}

/* A random UUID (RFC 9562, version 4). */
static int new_id(char id[UUID_LENGTH + 1]) {
  unsigned char b[16];
  FILE *random = fopen("/dev/urandom", "rb");
  if (random == NULL) return -1;
  size_t got = fread(b, 1, sizeof b, random);
  fclose(random);
  if (got != sizeof b) return -1;
  b[6] = (b[6] & 0x0f) | 0x40;
  b[8] = (b[8] & 0x3f) | 0x80;
  snprintf(id, UUID_LENGTH + 1, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
           b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
  return 0;
}

/* One try. `wait` is how many seconds to wait before the next. */
static enum outcome post(CURL *curl, const char *event, long *wait) {
  struct answer answer = {.length = 0};
  answer.bytes[0] = '\0';
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, event);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
  CURLcode failed = curl_easy_perform(curl);
  if (failed != CURLE_OK) {
    fprintf(stderr, "no answer: %s\n", curl_easy_strerror(failed));
    return AGAIN;
  }
  long status = 0;
  curl_off_t asked = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &asked);
  if (status == 200 || status == 202) return ACCEPTED;
  fprintf(stderr, "%ld: %s\n", status, answer.bytes);
  if (status != 408 && status != 429 && status != 503) return REFUSED;
  if (asked > 0 && asked < 3600) *wait = (long)asked;
  return AGAIN;
}

int main(void) {
  const char *server = getenv("EVENTS_URL");
  const char *credential = getenv("EVENTS_CREDENTIAL");
  char id[UUID_LENGTH + 1], url[URL_MAX], event[EVENT_MAX];
  if (server == NULL || credential == NULL || new_id(id) != 0) return 64;
  if (snprintf(url, sizeof url, "%s/v1/events/play", server) >= (int)sizeof url) return 64;
  snprintf(event, sizeof event,
           "{\"eventid\":\"%s\",\"deviceid\":\"c-1\",\"action\":\"stop\",\"musicsource\":\"tidal\",\"secondslistened\":187.4}",
           id);

  curl_global_init(CURL_GLOBAL_DEFAULT);
  CURL *curl = curl_easy_init();
  struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
  if (curl == NULL || headers == NULL) return 71;
  curl_easy_setopt(curl, CURLOPT_URL, url);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
  curl_easy_setopt(curl, CURLOPT_USERPWD, credential);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
  /* One handle for all: the connection, and with TLS its handshake, is used again. */

  enum outcome outcome = AGAIN;
  for (int try = 0; try < TRIES && outcome == AGAIN; try++) {
    long wait = 1L << try;
    outcome = post(curl, event, &wait);
    if (outcome == AGAIN && try + 1 < TRIES) sleep((unsigned)wait);
  }
  curl_slist_free_all(headers);
  curl_easy_cleanup(curl);
  curl_global_cleanup();
  puts(outcome == ACCEPTED ? "accepted" : outcome == AGAIN ? "kept for later" : "refused");
  return outcome == ACCEPTED ? 0 : 1;
}
