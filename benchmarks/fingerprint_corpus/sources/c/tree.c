/* Trees made and freed by malloc; the input is their depth. */
#include <stdio.h>
#include <stdlib.h>

struct node { struct node *left, *right; };

static struct node *grow(int depth) {
    struct node *made = malloc(sizeof *made);
    made->left = depth ? grow(depth - 1) : NULL;
    made->right = depth ? grow(depth - 1) : NULL;
    return made;
}

static int count(const struct node *from) { return from ? 1 + count(from->left) + count(from->right) : 0; }

static void fell(struct node *from) {
    if (!from) return;
    fell(from->left);
    fell(from->right);
    free(from);
}

int main(int argc, char **argv) {
    static const int depths[] = {6, 12, 18};
    int depth = depths[argc > 1 ? atoi(argv[1]) : 0];
    volatile int sink = 0;
    for (;;) {
        struct node *root = grow(depth);
        sink += count(root);
        fell(root);
    }
}
