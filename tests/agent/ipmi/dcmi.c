/*
 * A module for OpenIPMI's ipmi_sim: answers DCMI "Get Power Reading" (netfn
 * 2Ch, command 02h, group extension DCh; DCMI 1.5 specification, 6.6.1), which
 * the simulator lacks. The load string is the watts, or "off" for a
 * measurement that is not activated.
 */
#include <stdlib.h>
#include <string.h>
#include <OpenIPMI/serv.h>
#include <OpenIPMI/lanserv.h>
#include <OpenIPMI/mcserv.h>

static unsigned int watts;
static int active = 1;

static void power_reading(lmc_data_t *mc, msg_t *msg, unsigned char *rdata, unsigned int *rdata_len, void *data)
{
    unsigned int figures[4] = {watts, watts / 2, watts * 2, watts};
    int i;

    (void)mc;
    (void)data;
    if (msg->cmd != 0x02) {
        rdata[0] = 0xc1;
        *rdata_len = 1;
        return;
    }
    memset(rdata, 0, 19);
    rdata[1] = 0xdc;
    for (i = 0; i < 4; i++) {
        rdata[2 + 2 * i] = figures[i] & 0xff;
        rdata[3 + 2 * i] = figures[i] >> 8;
    }
    rdata[14] = 0xe8; /* a sampling period of 1000 ms */
    rdata[15] = 0x03;
    rdata[18] = active ? 0x40 : 0;
    *rdata_len = 19;
}

int ipmi_sim_module_init(sys_data_t *sys, const char *initstr)
{
    (void)sys;
    active = initstr && strcmp(initstr, "off") != 0;
    watts = active ? (unsigned int)atoi(initstr) : 0;
    ipmi_emu_register_group_extension_handler(0xdc, power_reading, NULL);
    return 0;
}
