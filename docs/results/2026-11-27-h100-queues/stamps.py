# What stamps of a launch say (stamps.patch: a bench whose products leave clocks of each tile behind their counter).
# stamps.py FILE K [WHICH]   FILE: output of such a `measure`; K: length of the sum; WHICH: launch, -1 the last
import collections, sys

def launches(f):
    recs=[];cur=None;out=[]
    for l in open(f):
        if l.startswith('STAMP'): 
            if 'launch' in l: cur=[]; out.append((int(l.split()[2]),cur))
        elif l.startswith('S '): cur.append(tuple(map(int,l.split()[1:])))
    res=[]
    for total,recs in out:
        recs.sort(key=lambda r:r[11])
        # split by gaps: start g0 when SM's... use new launch when g0 > max g1 so far
        g=[];end=None
        for r in recs:
            if end is not None and r[11]>=end: 
                res.append(g); g=[]
                end=None
            g.append(r); end=r[12] if end is None else max(end,r[12])
        if g: res.append(g)
    return res

f,k,which=sys.argv[1],int(sys.argv[2]),int(sys.argv[3]) if len(sys.argv)>3 else -1
L=[g for g in launches(f) if g[0][5]==k]
g=L[which]
t0=min(r[11] for r in g); t1=max(r[12] for r in g)
print('us',(t1-t0)/1e3,'records',len(g))
rows=collections.Counter()
bye=collections.defaultdict(set)
for r in g: bye[r[1]].add((r[4],r[2]))
for e in sorted(bye,key=lambda e:-sum(x[1] for x in bye[e])): print('expert',e,'rows',sum(x[1] for x in bye[e]),'tiles',sorted(x[1] for x in bye[e]))
# per-SM timelines
sm=collections.defaultdict(list)
for r in g: sm[r[0]].append(r)
ends=[];busy=0
print('SMs',len(sm),'items per sm',collections.Counter(len(v) for v in sm.values()))
for s in sm: sm[s].sort(key=lambda r:r[11])
# last end per SM
le=sorted((v[-1][12]-t0)/1e3 for v in sm.values()); print('last end us: min %.1f q1 %.1f med %.1f q3 %.1f max %.1f'%(le[0],le[len(le)//4],le[len(le)//2],le[3*len(le)//4],le[-1]),'idle at end mean %.1f'%(le[-1]-sum(le)/len(le)))
fs=sorted((v[0][11]-t0)/1e3 for v in sm.values()); print('first start max %.1f'%fs[-1])
# by rows class: duration of clocks, wait
c=collections.defaultdict(list)
for r in g:
    rr=r[2]; c[(rr+15)//16*16].append(r)
tot=sum(r[12]-r[11] for r in g)/1e3
print('sum of tile us %.0f of %.0f'%(tot,len(sm)*(t1-t0)/1e3))
print('rows16 n  us(mean,min,max) clk/us takewait firstfull  sums/step waited/step after')
for w in sorted(c):
    v=c[w]; n=len(v); steps=k/64
    d=[(r[12]-r[11])/1e3 for r in v]; 
    print('%4d %4d  %.1f %.1f %.1f  share %.1f%% | take %.0f first %.0f  sums %.0f/step wait %.0f/step store %.0f'%(w,n,sum(d)/n,min(d),max(d),100*sum(d)/tot,sum(r[6] for r in v)/n,sum(r[7] for r in v)/n,sum(r[8] for r in v)/n/steps,sum(r[10] for r in v)/n/steps,sum(r[9]-r[8] for r in v)/n), 'GHz %.2f'%(sum(r[6]+r[9] for r in v)/sum(d)/1e3))
# time windows: fraction of SMs on multi tiles, wait fraction
B=12
for b in range(B):
    lo=t0+(t1-t0)*b/B; hi=t0+(t1-t0)*(b+1)/B
    big=small=wait=0
    for r in g:
        o=max(0,min(hi,r[12])-max(lo,r[11])); d=r[12]-r[11]
        if r[2]>96: big+=o
        else: small+=o
        wait+=o*(r[10]+r[7])/max(1,(r[6]+r[9]))
    tt=(hi-lo)*len(sm)
    print('%2d big %.2f small %.2f waiting %.2f'%(b,big/tt,small/tt,wait/tt))
