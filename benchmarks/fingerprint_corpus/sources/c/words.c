/* Words counted in a hash table of chains; the input is the size of the vocabulary. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 4096 };
struct entry { struct entry *next; int seen; char word[]; };
static struct entry *table[BUCKETS];

static unsigned bucket_of(const char *word) {
    unsigned h = 2166136261u;
    while (*word) h = (h ^ (unsigned char)*word++) * 16777619u;
    return h % BUCKETS;
}

static void add(const char *word) {
    struct entry **at = &table[bucket_of(word)];
    for (struct entry *e = *at; e; e = e->next)
        if (!strcmp(e->word, word)) { e->seen++; return; }
    struct entry *made = malloc(sizeof *made + strlen(word) + 1);
    strcpy(made->word, word);
    made->seen = 1;
    made->next = *at;
    *at = made;
}

int main(int argc, char **argv) {
    static const int sizes[] = {50, 2000, 30000};
    int size = sizes[argc > 1 ? atoi(argv[1]) : 0];
    char *text = malloc(1 << 21), *copy = malloc(1 << 21), *end = text;
    for (int i = 0; end < text + (1 << 20); i++) end += sprintf(end, "w%dx ", (i * 7919) % size);
    for (;;) {
        strcpy(copy, text);
        char *rest = NULL;
        for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) add(word);
    }
}
