/*
 * The life of one alert: a function of how it was, what was decided about it, and the time. All of
 * the state machine that alert.h describes is here, and nothing else is.
 */
#include "alert/internal.h"

bool md__alert_life_is_active(const struct md__alert_life *life)
{
    return life->state != MD_ALERT_INACTIVE || life->away_state != MD_ALERT_INACTIVE;
}

/* Time that nobody watched does not count towards for_ms; after too much of it, nothing does. */
static void skip_lost_time(struct md__alert_life *life, const struct md__alert_moment *moment)
{
    if (life->state != MD_ALERT_PENDING)
        return;
    if (moment->lost_ms > MD_ALERT_OUTAGE_MS)
        life->active_ms = moment->time_ms;
    else
        life->active_ms += moment->lost_ms;
}

/* The rule is there again: goes on where it was, unless that is too long ago. */
static void come_back(struct md__alert_life *life, const struct md__alert_moment *moment)
{
    int64_t away_ms = moment->time_ms - life->away_ms;
    if (away_ms > MD_ALERT_RESOLVED_MS) {
        *life = (struct md__alert_life){.state = MD_ALERT_INACTIVE};
        return;
    }
    life->state = life->away_state;
    life->resolved_ms = 0;
    if (life->state == MD_ALERT_PENDING)
        life->active_ms += away_ms;
    life->away_state = MD_ALERT_INACTIVE;
    life->away_ms = 0;
}

static void hold(struct md__alert_life *life, const struct md__alert_moment *moment)
{
    if (life->state == MD_ALERT_INACTIVE)
        *life = (struct md__alert_life){.state = MD_ALERT_PENDING, .active_ms = moment->time_ms};
    life->keep_since_ms = 0;
    if (life->state == MD_ALERT_PENDING && moment->time_ms - life->active_ms >= moment->for_ms) {
        life->state = MD_ALERT_FIRING;
        life->fired_ms = moment->time_ms;
    }
}

/* Ends what is active: what fired is resolved, what was pending is as if it had not been. */
static void end(struct md__alert_life *life, int64_t time_ms)
{
    if (life->state == MD_ALERT_FIRING) {
        life->state = MD_ALERT_INACTIVE;
        life->resolved_ms = time_ms;
        life->keep_since_ms = 0;
    } else if (life->state == MD_ALERT_PENDING) {
        *life = (struct md__alert_life){.state = MD_ALERT_INACTIVE};
    }
}

static void lose(struct md__alert_life *life, const struct md__alert_moment *moment)
{
    if (life->state == MD_ALERT_FIRING && moment->keep_firing_ms > 0) {
        if (life->keep_since_ms == 0)
            life->keep_since_ms = moment->time_ms;
        if (moment->time_ms - life->keep_since_ms < moment->keep_firing_ms)
            return;
    }
    end(life, moment->time_ms);
}

static void leave(struct md__alert_life *life, int64_t time_ms)
{
    if (life->state == MD_ALERT_INACTIVE)
        return;
    life->away_state = life->state;
    life->away_ms = time_ms;
    life->resolved_ms = life->state == MD_ALERT_FIRING ? time_ms : 0;
    life->state = MD_ALERT_INACTIVE;
    life->keep_since_ms = 0;
}

/* It was removed, and when its rule came back, its condition no longer held. */
static void stay_away(struct md__alert_life *life)
{
    if (life->away_state == MD_ALERT_PENDING)
        *life = (struct md__alert_life){.state = MD_ALERT_INACTIVE};
    life->away_state = MD_ALERT_INACTIVE;
    life->away_ms = 0;
}

struct md__alert_life md__alert_life_next(struct md__alert_life life,
                                          enum md__alert_decision decision,
                                          const struct md__alert_moment *moment)
{
    bool goes_on = decision == MD__DECISION_HOLDS || decision == MD__DECISION_STAYS;
    if (goes_on && life.away_state != MD_ALERT_INACTIVE)
        come_back(&life, moment);
    else if (goes_on)
        skip_lost_time(&life, moment);
    else if (decision != MD__DECISION_GONE && life.away_state != MD_ALERT_INACTIVE)
        stay_away(&life);

    switch (decision) {
    case MD__DECISION_HOLDS:
        hold(&life, moment);
        break;
    case MD__DECISION_STAYS:
        break;
    case MD__DECISION_LOST:
        lose(&life, moment);
        break;
    case MD__DECISION_GONE:
        leave(&life, moment->time_ms);
        break;
    case MD__DECISION_END:
        end(&life, moment->time_ms);
        break;
    }
    return life;
}
