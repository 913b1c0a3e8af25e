/* What repl.c, bind_repl.c and repl_look.c share. */
#ifndef MD_SCRIPT_REPL_INTERNAL_H
#define MD_SCRIPT_REPL_INTERNAL_H

#include "script/generation.h"
#include "script/repl.h"
#include "script/value.h"

#define MD__REPL_FILES_MAX   64
#define MD__REPL_CARRIED_MAX 200
#define MD__REPL_NAME_MAX    64

/* A file's text in this session. */
struct md__repl_file {
    char name[MD__MODULE_FILE_MAX]; /* "risk.lua" */
    char *text;
    size_t length;
};

/* What is replaced together when a file changes: a generation of one state that serves nobody. */
struct md__world {
    struct md_generation generation; /* script, number (of what served then), config, sources */
    struct md__state *state;
    int number; /* of the session's worlds, from 1 */
};

struct md_repl {
    struct md_script *script;
    struct md__world *world;
    _Atomic bool interrupted;
    bool live;         /* may change live data */
    int number;        /* of the session, from 1 */
    int worlds;        /* made so far */
    char trouble[256]; /* why the files on disk do not load, "" */
    struct md__repl_file files[MD__REPL_FILES_MAX];
    int file_count;
    /* The session's variables on their way to a new state. */
    struct {
        char name[MD__REPL_NAME_MAX];
        struct md__value *value;
    } carried[MD__REPL_CARRIED_MAX];
    int carried_count;
    /* What Lua has asked for, done when it has ended: */
    struct md__repl_file staged; /* name "": nothing; text NULL: back to the file on disk */
    bool reset;                  /* all files from disk */
    char *compare;               /* code to be evaluated in a fresh state, to be freed */
    const struct md_repl_output *output;
};

/* repl_look.c: functions that show what is going on, for the table on top of the stack. */
void md__repl_look_bind(lua_State *L);

#endif
